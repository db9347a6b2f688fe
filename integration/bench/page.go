package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// writePage writes the results for readers, and the plots into a directory
// beside the page that bears its name.
func (r report) writePage(path string) error {
	dir := strings.TrimSuffix(path, filepath.Ext(path))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range r.plots() {
		if err := os.WriteFile(filepath.Join(dir, p.file), []byte(p.drawing), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(path, []byte(r.page(filepath.Base(dir))), 0o644)
}

// page is Markdown; plots are in the directory of that name.
func (r report) page(plotDir string) string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\n<!-- Written by `make bench`: changes by hand are lost. -->\n\n")
	b.WriteString(r.introduction())
	b.WriteString("\n## What is promised\n\n" + r.promises())
	b.WriteString("\n## Plots\n")
	for _, p := range r.plots() {
		fmt.Fprintf(&b, "\n![%s](%s/%s)\n", p.caption, plotDir, p.file)
	}
	b.WriteString("\n## How to read the tables\n\n" + reading)
	b.WriteString("\n## One call at a time\n\n" + r.table(latency))
	b.WriteString("\n## Many at a time\n\n" + crowdsExplained + r.table(rate) + r.failures())
	b.WriteString("\n## What DEL leaves to the daemon\n\n" + r.handOff())
	b.WriteString("\n## What a call asks of the kernel\n\n" + r.countTable())
	b.WriteString("\n## Size of the programs\n\n" + r.sizeTable())
	b.WriteString("\n## How it is measured\n\n" + method)
	return b.String()
}

func (r report) introduction() string {
	m := r.machine
	var b strings.Builder
	fmt.Fprintf(&b, `Ropeway's plugin against the reference plugins ptp and bridge with host-local
(and portmap), v1.9.1, in one run. `+"`make bench`"+` repeats it and writes this page;
`+"`make bench-quick`"+` runs the same cases in fewer rounds.

Taken on %s, in %s: Linux %s, %d processors (%s), %.0f GiB of memory, state on %s.
`, m.when.Format("2 January 2006, 15:04 UTC"), m.took.Round(time.Second), m.kernel, m.processors, known(m.processor), float64(m.memory)/(1<<30), known(m.filesystem))
	share := 100 * m.others()
	if m.busy() {
		fmt.Fprintf(&b, `
**The machine was busy**: other programs took %.0f %% of its processors. Times are
longer than on a quiet one and intervals wider; ratios suffer less, but they do.
`, share)
	} else {
		fmt.Fprintf(&b, "Whatever else ran there, the kernel's own work included, took %.0f %% of its processors.\n", share)
	}
	if m.length == quick {
		b.WriteString("\n**A quick run**, of few rounds.\n")
	}
	return b.String()
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// promises lists every target, missed ones as well.
func (r report) promises() string {
	var b strings.Builder
	b.WriteString("| case | against | promised | measured | |\n|---|---|---|---|---|\n")
	for _, x := range r.results {
		t, promised := targets()[x.Case]
		if !promised {
			continue
		}
		measured := fmt.Sprintf("%.3f (%.3f to %.3f)", x.Ratio, x.RatioLow, x.RatioHigh)
		against := x.Peer
		switch {
		case t.milliseconds > 0:
			measured, against = fmt.Sprintf("%.1f ms", x.P50), ""
		case t.flawless:
			measured, against = fmt.Sprintf("%d errors in %d calls", x.subject.failed, x.calls+x.subject.failed), ""
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", x.Case, against, t, measured, t.judge(x).emphasised())
	}
	for _, s := range r.sizes {
		if s.promised() {
			fmt.Fprintf(&b, "| size of the plugin | | under %.1f MB | %.2f MB | %s |\n", megabytes(maxPluginBytes), megabytes(s.bytes), s.judge().emphasised())
		}
	}
	return b.String()
}

// emphasised is for tables: what was missed is to be seen.
func (j judgement) emphasised() string {
	if j == met {
		return string(j)
	}
	return "**" + string(j) + "**"
}

const reading = `A ratio is ours divided by the peer's, both taken in the same run in turns. Of
times, 0.40 means that ours takes 40 % of the peer's; of rates, 2.0 means twice as
many a second. The figures in brackets hold the ratio with 95 % confidence. Times
are milliseconds, median / 99th percentile. They belong to this machine and this
hour; ratios travel better. CPU is processor time of a call's processes.

A case without a suffix is set against ptp, which wires pods the way Ropeway does.
` + "`-vs-bridge`" + ` is against bridge, ` + "`-vs-nftables`" + ` against ptp told to use nftables where it
uses iptables by itself, ` + "`-at-N`" + ` in a network that holds N addresses against our
own with 10, ` + "`-at-N-vs-ptp`" + ` against ptp in the same state, ` + "`-without-daemon`" + ` while
ropewayd is dead. ` + "`until-gone`" + ` lasts from the start of DEL until the kernel has
deleted the pod's link, whoever deletes it. ` + "`ipam-`" + ` is the IPAM plugin by itself,
ropeway-ipam against host-local. ` + "`version`" + ` is against an empty Go program.
`

const crowdsExplained = `So many ADD at once, then as many DEL; rounds of 64, 96 and 256 pods. Times are of
a single call while the others run, the rate is of all: pods a second. Calls that
failed are counted and not part of times and rates.

`

// table of all results that are compared by a quantity.
func (r report) table(q quantity) string {
	var b strings.Builder
	ratio := "ratio"
	if q == rate {
		ratio = "ratio of rates"
	}
	fmt.Fprintf(&b, "| case | ours, ms | CPU | a second | errors | peer | peer, ms | CPU | a second | errors | %s | rounds |\n", ratio)
	b.WriteString("|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---|---:|\n")
	for _, x := range r.results {
		if x.quantity != q {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | **%.3f** (%.3f to %.3f) | %d |\n",
			x.Case, x.subject.cells(), x.Peer, x.theirs.cells(), x.Ratio, x.RatioLow, x.RatioHigh, x.rounds)
	}
	return b.String()
}

func (f figures) cells() string {
	cpu := ""
	if f.cpu > 0 && !math.IsInf(f.cpu, 0) {
		cpu = fmt.Sprintf("%.1f", f.cpu)
	}
	return fmt.Sprintf("%.2f / %.2f | %s | %.0f | %d", f.p50, f.p99, cpu, f.rate, f.failed)
}

func (r report) failures() string {
	list := r.errors()
	if len(list) == 0 {
		return "\nNo call failed.\n"
	}
	var b strings.Builder
	b.WriteString("\nFailed calls:\n\n")
	for _, text := range list {
		fmt.Fprintf(&b, "- `%s`\n", strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "`", "'"))
	}
	return b.String()
}

// handOff is for those who suspect that DEL only looks fast.
func (r report) handOff() string {
	x, a := r.find("del")
	gone, b := r.find("del-until-gone")
	dead, c := r.find("del-without-daemon")
	if !a || !b || !c {
		return "Not measured.\n"
	}
	add, _ := r.find("add")
	return fmt.Sprintf(`Deleting a link is slow in the kernel: it waits until no processor can still use it,
and waits as long for one link as for many. DEL sets the link down, puts it aside and
tells ropewayd, which gathers such links for 50 ms and deletes them together; while
ropewayd is dead, DEL deletes them itself. So one link goes later than ptp's, and many
go sooner (`+"`del-until-gone-parallel-N`"+` above).

| | ropeway, ms | ptp, ms |
|---|---:|---:|
| until DEL returns | %.2f / %.2f | %.2f / %.2f |
| until the link is gone | %.2f / %.2f | %.2f / %.2f |
| until DEL returns, ropewayd dead | %.2f / %.2f | |

ropewayd used %.1f ms of processor time for each pod that came and went, in addition
to the plugin's own %.1f ms for ADD and %.1f ms for DEL. No other contender's turn
begins before the link is gone and ropewayd is idle again.
`, x.P50, x.P99, x.theirs.p50, x.theirs.p99, gone.P50, gone.P99, gone.theirs.p50, gone.theirs.p99, dead.P50, dead.P99,
		add.subject.daemon, add.subject.cpu, x.subject.cpu)
}

func (r report) countTable() string {
	if len(r.counts) == 0 {
		return "Not counted.\n"
	}
	var b strings.Builder
	b.WriteString("Counted with strace in runs of their own, children included; the median of " + fmt.Sprint(countRounds().of(r.machine.length)) + `
calls. How threads wait for each other (futex, nanosleep and the like) is left out.
Fsyncs are fsync, fdatasync, sync_file_range, syncfs and sync.

| | ADD: calls | fsyncs | programs | CHECK: calls | fsyncs | programs | STATUS: calls | fsyncs | programs | DEL: calls | fsyncs | programs |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
`)
	for i := 0; i < len(r.counts); i += len(countedVerbs()) {
		fmt.Fprintf(&b, "| %s |", r.counts[i].of)
		for _, c := range r.counts[i : i+len(countedVerbs())] {
			fmt.Fprintf(&b, " %d | %d | %d |", c.calls, c.fsyncs, c.programs)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (r report) sizeTable() string {
	var b strings.Builder
	b.WriteString("| program | MB |\n|---|---:|\n")
	for _, s := range r.sizes {
		fmt.Fprintf(&b, "| %s | %.2f |\n", s.name, megabytes(s.bytes))
	}
	return b.String() + "\n`empty` is a Go program that does nothing; all are built alike (`-trimpath -ldflags \"-s -w\"`).\n"
}

const method = `- Each contender has a node of its own: a network namespace with an eth0, and a mount
  namespace with its own /run, where iptables keeps its lock. Pods are network
  namespaces. Nothing of the machine's own network is touched.
- Plugins are started as a runtime starts them: a process for each plugin of the
  list, the configuration on stdin, the result of ADD handed to CHECK and DEL, 64
  digits of container ID. A time begins before the fork and ends when the process
  is reaped; of a chain the times are added.
- Ropeway runs beside its daemon and with the configuration list that the daemon
  wrote. Masquerading is the daemon's affair there: one rule, whatever the number
  of pods; the reference sets up rules for each pod.
- State is on the disk that is named above, not in memory. Neither side waits until it is
  written (see the fsyncs above). Programs are copied to where they are run from, as
  installers do.
- Contenders take turns, and the order turns round with each round. Before the next
  one's turn the link is gone and ropewayd idle.
- First rounds are forgotten. The interval comes from drawing rounds 2,000 times,
  each with both its sides.
- Reservations of other pods are files in host-local's layout, made before.
- A comparison that takes too long on a slow machine ends with fewer rounds; the
  tables say how many there were. ptp waits more than a second for duplicate
  address detection in dual-stack, hence few rounds there.
`
