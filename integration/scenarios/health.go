package scenarios

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/ropeway-net/ropeway/integration/lab"
)

func healthCommands() map[string]command {
	return map[string]command{"configure": configure, "health-says": healthSays}
}

// configure NODE KEY=VALUE…: keys of the daemon's configuration, changed while
// it runs.
func configure(_ context.Context, w *world, args []string) (string, error) {
	if err := want(args, "configure NODE KEY=VALUE…", 2, -1); err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(n.ConfigFile())
	if err != nil {
		return "", err
	}
	config := map[string]any{}
	if err := yaml.Unmarshal(b, &config); err != nil {
		return "", err
	}
	for _, pair := range args[1:] {
		key, text, _ := strings.Cut(pair, "=")
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			return "", err
		}
		if config[key] = value; value == nil {
			delete(config, key)
		}
	}
	return "", n.WriteConfig(config)
}

// health-says NODE CODE PATH PATTERN: what the daemon answers to machines has
// this status code and matches the regular expression.
func healthSays(ctx context.Context, w *world, args []string) (string, error) {
	if err := want(args, "health-says NODE CODE PATH PATTERN", 4, 4); err != nil {
		return "", err
	}
	pattern, err := regexp.Compile(args[3])
	if err != nil {
		return "", err
	}
	n, err := w.node(args[0])
	if err != nil {
		return "", err
	}
	text, code, err := askHealth(ctx, n, args[2])
	if err != nil {
		return "", err
	}
	if fmt.Sprint(code) != args[1] || !pattern.MatchString(text) {
		return text, fmt.Errorf("%s answers %d, and not %s with %q:\n%s", args[2], code, args[1], args[3], text)
	}
	return text, nil
}

func askHealth(ctx context.Context, n *lab.Node, path string) (text string, code int, err error) {
	transport := &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:9114"+path, nil)
	if err != nil {
		return "", 0, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return string(b), response.StatusCode, err
}
