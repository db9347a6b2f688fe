package health

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ropeway-net/ropeway/daemon/probe"
	"github.com/ropeway-net/ropeway/daemon/status"
	"github.com/ropeway-net/ropeway/statedir"
)

// Metrics are the figures of one process. They outlive the daemon's work with
// one configuration, so that counters do not begin anew when it changes.
type Metrics struct {
	registry *prometheus.Registry

	reconcile       prometheus.Histogram
	reconcileErrors prometheus.Counter
	operations      prometheus.Counter
	drift           *prometheus.CounterVec

	requests         *prometheus.CounterVec
	requestDurations *prometheus.HistogramVec
	badReports       prometheus.Counter

	probes     *prometheus.CounterVec
	roundTrips prometheus.Histogram
}

// NewMetrics returns figures that are all zero. The version is that of the
// program.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		reconcile: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ropeway_reconcile_duration_seconds", Help: "Time that comparing the kernel with what it should hold, and repairing it, took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15), // to 16 s; a pass is given up after 30 s
		}),
		reconcileErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ropeway_reconcile_errors_total", Help: "Passes of the loop after which the kernel, or a file, was not as it should be.",
		}),
		operations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ropeway_kernel_operations_total", Help: "Changes of the kernel that the daemon has tried.",
		}),
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ropeway_drift_repaired_total", Help: "Repairs of what another program had changed, by kind of object.",
		}, []string{"kind"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ropeway_cni_requests_total", Help: "Requests that the CNI plugin has served while the daemon ran, by verb and error code; code 0 is success.",
		}, []string{"verb", "code"}),
		requestDurations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ropeway_cni_request_duration_seconds", Help: "Time that the CNI plugin needed for a request, without the start of its process, by verb.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"verb"}),
		badReports: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ropeway_cni_bad_reports_total", Help: "Reports of requests that were refused because no plugin of Ropeway sends such.",
		}),
	}
	m.probes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ropeway_probes_total", Help: "Echo requests to other nodes, by what became of them.",
	}, []string{"result"})
	m.roundTrips = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "ropeway_probe_duration_seconds", Help: "Time until another node has answered an echo request, by the way that pods' packets take.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 11), // to 1 s, which is when a request is given up
	})
	for _, result := range probe.Results() {
		m.probes.WithLabelValues(string(result))
	}
	for _, verb := range statedir.Verbs() {
		m.requests.WithLabelValues(verb, "0")
		m.requestDurations.WithLabelValues(verb)
	}
	for _, kind := range status.Kinds() {
		m.drift.WithLabelValues(kind)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ropeway_build_info", Help: "Always 1; the labels say which program runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(build, m.reconcile, m.reconcileErrors, m.operations, m.drift, m.requests, m.requestDurations, m.badReports, m.probes, m.roundTrips,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Passed counts a pass of the loop.
func (m *Metrics) Passed(p status.Pass) {
	m.reconcile.Observe(p.Duration.Seconds())
	m.operations.Add(float64(p.Operations))
	if p.Error != "" {
		m.reconcileErrors.Inc()
	}
	for kind, n := range p.Repaired {
		m.drift.WithLabelValues(kind).Add(float64(n))
	}
}

// Probed counts a request to a peer.
func (m *Metrics) Probed(result probe.Result, took time.Duration) {
	m.probes.WithLabelValues(string(result)).Inc()
	if result == probe.Answered {
		m.roundTrips.Observe(took.Seconds())
	}
}

// handler shows these figures together with what the view shows now.
func (m *Metrics) handler(v View) http.Handler {
	now := prometheus.NewRegistry()
	now.MustRegister(&collector{view: v})
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, now}, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4,
		Timeout:             answerTime,
		// What could be found out is shown, and a scrape that lacks something
		// says so in the daemon's own figures, not by failing.
		ErrorHandling: promhttp.ContinueOnError,
	})
}

// collector reads a view when it is asked.
type collector struct{ view View }

var _ prometheus.Collector = (*collector)(nil)

// Describe implements [prometheus.Collector]: nothing is promised beforehand.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime/2)
	defer cancel()
	g := gauges{out}
	r := c.view.Report()
	g.node(r)
	g.peers(r)
	g.reachability(r.Reachability)
	g.objects(r)
	if c.view.Addresses != nil {
		// A directory that cannot be read has no figure; the log and
		// `ropewayctl status` say why pods get no addresses.
		if usage, err := c.view.Addresses(ctx); err == nil {
			g.addresses(usage)
		}
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / float64(time.Second) }
