package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/ropeway-net/ropeway/statedir"
)

// memory is the content of peers.json.
type memory struct {
	Nodes []Node `json:"nodes"`
}

// Remember keeps the nodes in a file for [Recall]. A file that holds them
// already is left alone.
func Remember(path string, nodes []Node) error {
	b, err := json.Marshal(memory{Nodes: nodes})
	if err != nil {
		return fmt.Errorf("encode nodes: %w", err)
	}
	b = append(b, '\n')
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, b) {
		return nil
	}
	if err := statedir.WriteFile(path, b); err != nil {
		return fmt.Errorf("remember nodes: %w", err)
	}
	return nil
}

// Recall returns the nodes that were last remembered, so that a node whose
// source is away keeps its paths through a restart. The error for a file that
// does not exist wraps fs.ErrNotExist.
func Recall(path string) ([]Node, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("recall nodes: %w", err)
	}
	nodes, err := parseMemory(b)
	if err != nil {
		return nil, fmt.Errorf("recall nodes: %s is damaged: %w", path, err)
	}
	return nodes, nil
}

// parseMemory is as strict as [Parse]: nodes that contradict each other were
// never remembered.
func parseMemory(b []byte) ([]Node, error) {
	var m memory
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if len(m.Nodes) == 0 {
		return nil, errors.New("it holds no nodes")
	}
	return m.Nodes, Validate(m.Nodes)
}
