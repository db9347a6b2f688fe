package main

import (
	"fmt"
	"strings"
	"time"
)

// Rows appear as they are measured, so columns have fixed widths.
const columns = "%-9s %-9s %-6s %-10s %11s %13s  %s\n"

func (d *demo) printHeader() {
	d.printf(columns, "PODS", "NODES", "FAMILY", "PATH", "ROUND TRIP", "THROUGHPUT", "WHY")
}

func (d *demo) printRow(r row) {
	d.printf(columns,
		r.a.Name+" - "+r.b.Name, r.a.Node.Name+" - "+r.b.Node.Name, r.family, r.via,
		roundTrip(r.roundTrip), throughput(r.throughput), r.why)
	if r.err != nil {
		d.printf("    FAILED: %s\n", strings.ReplaceAll(r.err.Error(), "\n", "\n            "))
	}
}

func roundTrip(t time.Duration) string {
	if t == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f ms", t.Seconds()*1000)
}

func throughput(bitsPerSecond float64) string {
	switch {
	case bitsPerSecond == 0:
		return "-"
	case bitsPerSecond < 1e9:
		return fmt.Sprintf("%.0f Mbit/s", bitsPerSecond/1e6)
	}
	return fmt.Sprintf("%.1f Gbit/s", bitsPerSecond/1e9)
}
