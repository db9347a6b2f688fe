package kernel

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// elementsPerCommand keeps the elements of one command, an interval's two ends
// each, well below the 64 KB that a netlink attribute can hold.
const elementsPerCommand = 512

// TableChange is one nftables transaction: the kernel carries out all of its
// commands or none, and no packet sees a state between. As an [Op] it prints
// as the nft script that does the same.
type TableChange struct {
	commands []tableCommand
}

// tableCommand is one line of an nft script.
type tableCommand interface {
	String() string
	// apply does to t what the kernel would, and refuses what it would.
	apply(t *Table) (*Table, error)
}

type (
	nftAddTable    struct{ flags string }
	nftDeleteTable struct{}
	nftAddSet      struct {
		name     string
		typ      SetType
		interval bool
	}
	nftDeleteSet   struct{ name string }
	nftAddElements struct {
		set      string
		typ      SetType
		interval bool
		elements []netip.Prefix
	}
	nftDeleteElements struct {
		set      string
		typ      SetType
		interval bool
		elements []netip.Prefix
	}
	nftAddChain struct {
		name  string
		chain Chain // its rules are commands of their own
	}
	// nftSetPolicy is for a chain that is there and keeps its rules.
	nftSetPolicy   struct{ nftAddChain }
	nftFlushChain  struct{ name string }
	nftDeleteChain struct{ name string }
	nftAddRule     struct {
		chain string
		rule  Rule
	}
)

// String prints the shell command that carries out the transaction.
func (c TableChange) String() string {
	return "nft -f - <<'EOF'\n" + c.script() + "EOF"
}

// script prints the transaction, one command a line.
func (c TableChange) script() string {
	var b strings.Builder
	for _, command := range c.commands {
		b.WriteString(command.String())
		b.WriteByte('\n')
	}
	return b.String()
}

func (c nftAddTable) String() string {
	if c.flags != "" {
		return "add table inet " + TableName + " { flags " + c.flags + "; }"
	}
	return "add table inet " + TableName
}

func (nftDeleteTable) String() string { return "delete table inet " + TableName }

func (c nftAddSet) String() string {
	flags := ""
	if c.interval {
		flags = " flags interval;"
	}
	return nftLine("add set", c.name, fmt.Sprintf("{ type %s;%s }", c.typ, flags))
}

func (c nftDeleteSet) String() string { return nftLine("delete set", c.name) }
func (c nftAddElements) String() string {
	return nftLine("add element", c.set, braced(c.elements, c.typ))
}
func (c nftDeleteElements) String() string {
	return nftLine("delete element", c.set, braced(c.elements, c.typ))
}

func (c nftAddChain) String() string {
	if c.chain.Hook == "" {
		return nftLine("add chain", c.name)
	}
	policy := c.chain.Policy
	if policy == PolicyAccept {
		policy = "accept"
	}
	return nftLine("add chain", c.name, "{ type", string(c.chain.Type), "hook", string(c.chain.Hook),
		"priority", strconv.Itoa(c.chain.Priority)+"; policy", string(policy)+"; }")
}

func (c nftFlushChain) String() string  { return nftLine("flush chain", c.name) }
func (c nftDeleteChain) String() string { return nftLine("delete chain", c.name) }
func (c nftAddRule) String() string     { return nftLine("add rule", c.chain, c.rule.String()) }

func nftLine(verb, name string, rest ...string) string {
	return strings.Join(append([]string{verb, "inet", TableName, name}, rest...), " ")
}

// braced prints elements as nft does: a prefix that is one address without
// its length.
func braced(elements []netip.Prefix, typ SetType) string {
	words := make([]string, len(elements))
	for i, e := range elements {
		if words[i] = e.String(); e.IsSingleIP() {
			words[i] = e.Addr().String()
		}
		if typ.isPair() {
			words[i] += " . " + words[i]
		}
	}
	return "{ " + strings.Join(words, ", ") + " }"
}

func (c *TableChange) add(commands ...tableCommand) {
	c.commands = append(c.commands, commands...)
}

// addTable adds what makes t where there is no table.
func (c *TableChange) addTable(t *Table) {
	c.add(nftAddTable{t.Flags})
	for _, name := range sortedKeys(t.Sets) {
		c.addSet(name, t.Sets[name])
	}
	for _, name := range sortedKeys(t.Maps) {
		c.addMap(name, t.Maps[name])
	}
	for _, name := range sortedKeys(t.Chains) {
		c.add(nftAddChain{name, bare(t.Chains[name])})
	}
	for _, name := range sortedKeys(t.Chains) {
		c.addRules(name, t.Chains[name].Rules)
	}
}

func (c *TableChange) addSet(name string, s Set) {
	c.add(nftAddSet{name, s.Type, s.Interval})
	c.addElements(name, s, sortedPrefixes(s.Elements))
}

func (c *TableChange) addElements(name string, s Set, elements []netip.Prefix) {
	for chunk := range slices.Chunk(elements, elementsPerCommand) {
		c.add(nftAddElements{name, s.Type, s.Interval, chunk})
	}
}

func (c *TableChange) deleteElements(name string, s Set, elements []netip.Prefix) {
	for chunk := range slices.Chunk(elements, elementsPerCommand) {
		c.add(nftDeleteElements{name, s.Type, s.Interval, chunk})
	}
}

func (c *TableChange) addRules(chain string, rules []Rule) {
	for _, r := range rules {
		c.add(nftAddRule{chain, r})
	}
}

// bare returns the chain without its rules.
func bare(c Chain) Chain {
	c.Rules = nil
	return c
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func sortedPrefixes(set map[netip.Prefix]struct{}) []netip.Prefix {
	return slices.SortedFunc(maps.Keys(set), netip.Prefix.Compare)
}
