package leases

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ropeway-net/ropeway/endpoint"
	"github.com/ropeway-net/ropeway/ipam"
	"github.com/ropeway-net/ropeway/kernel"
	"github.com/ropeway-net/ropeway/statedir"
)

// Places are the directories that are looked at.
type Places struct {
	State    statedir.Dir // endpoint records and node.json
	Networks string       // reservations, a directory for each network
	Conf     string       // CNI network configurations, which name the ranges
	Results  string       // what libcni keeps for the runtime
}

// DefaultPlaces are those of a node that nobody configured otherwise.
func DefaultPlaces() Places {
	return Places{
		State:    statedir.DefaultDir,
		Networks: statedir.DefaultNetworksDir,
		Conf:     "/etc/cni/net.d",
		Results:  "/var/lib/cni/results",
	}
}

// grace is how old a sign of an ADD under way may be. Runtimes give up on one
// after four minutes at most.
const grace = 10 * time.Minute

// survey is everything that is known before judging.
type survey struct {
	places    Places
	boot      string
	now       time.Time
	networks  []surveyed
	records   []endpoint.Record
	results   []result
	occupancy kernel.Occupancy
	confs     []netconf
	node      statedir.Node // zero: not known
	notes     []string
	damaged   error // records that cannot be read

	recordsAt map[place][]*endpoint.Record
	resultsOf map[[2]string][]*result // by network and container

	narrowed bool // to networks that were named

	alive func(netns string) bool
	claim func(containerID, ifName string) (time.Time, bool)
}

// surveyed is one network's directory as it was found.
type surveyed struct {
	name, dir string
	inventory ipam.Inventory
}

// take reads everything. The reservations come first: what is attached after
// they have been read is in none of them, and what was attached before shows in
// the rest.
func take(ctx context.Context, places Places, only []string) (*survey, error) {
	s := &survey{places: places, now: time.Now(), alive: netnsAlive, narrowed: len(only) > 0}
	store := endpoint.Store{Dir: places.State.Endpoints()}
	s.claim = store.ClaimedSince
	var err error
	if s.boot, err = statedir.BootID(); err != nil {
		return nil, err
	}
	dirs, err := networkDirs(places.Networks)
	if err != nil {
		return nil, err
	}
	records, _ := store.List() // where they keep their networks
	for _, r := range records {
		if r.IPAM.DataDir != "" && !slices.Contains(dirs, filepath.Join(r.IPAM.DataDir, r.Network)) {
			dirs = append(dirs, filepath.Join(r.IPAM.DataDir, r.Network))
		}
	}
	if err = s.readNetworks(ctx, dirs, only); err != nil {
		return nil, err
	}
	if s.results, err = readResults(places.Results); err != nil {
		s.notes = append(s.notes, err.Error())
	}
	s.records, s.damaged = store.List()
	if s.occupancy, err = kernel.ReadOccupancy(ctx); err != nil {
		return nil, err
	}
	if s.occupancy.Blind != "" {
		s.notes = append(s.notes, "not every network namespace was seen: "+s.occupancy.Blind)
	}
	s.confs, err = readNetconfs(places.Conf)
	if err != nil {
		s.notes = append(s.notes, err.Error())
	}
	if s.node, err = places.State.ReadNode(); err != nil && !errors.Is(err, statedir.ErrNoNode) {
		s.notes = append(s.notes, err.Error())
	}
	return s, nil
}

func (s *survey) readNetworks(ctx context.Context, dirs, only []string) error {
	for _, dir := range dirs {
		name := filepath.Base(dir)
		if len(only) > 0 && !slices.Contains(only, name) {
			continue
		}
		inventory, err := ipam.Open(dir, s.boot).Inventory(ctx)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			s.notes = append(s.notes, err.Error())
		}
		s.networks = append(s.networks, surveyed{name, dir, inventory})
	}
	for _, name := range only {
		if !slices.ContainsFunc(s.networks, func(n surveyed) bool { return n.name == name }) {
			return fmt.Errorf("network %s has no reservations in %s; name one of those that `ropewayctl ipam ls` shows, or give its directory with --networks-dir", name, s.places.Networks)
		}
	}
	return nil
}

// networkDirs lists the networks' directories; none when nothing was ever
// attached.
func networkDirs(networks string) ([]string, error) {
	entries, err := os.ReadDir(networks)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list networks: %w", statedir.Explain(err))
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(networks, e.Name()))
		}
	}
	return dirs, nil
}

// netnsAlive is true in case of doubt.
func netnsAlive(path string) bool {
	if path == "" {
		return false
	}
	err := kernel.CheckPodNetns(path)
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, kernel.ErrNotNetns)
}
