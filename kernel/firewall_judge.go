package kernel

import (
	"slices"
	"strings"
)

// outcome is what a chain does to a packet of which nothing is known.
type outcome string

const (
	returns outcome = "" // to where it was jumped from; a base chain: to its policy
	drops   outcome = "drops"
	accepts outcome = "accepts" // or hands it to somebody who decides
)

// foreignRule is what matters of a rule in somebody else's chain.
type foreignRule struct {
	handle      uint64
	conditional bool
	verdict     verdict
	target      string  // of a jump or goto
	own         PodSide // "" unless it is one of ours
	// idle says that the rule counts or logs at most; logs, that it does log.
	idle, logs bool
	// narrows is what the conditions leave of the packets, for hook input.
	narrows narrowing
}

// verdict is what a rule says about packets that fulfil its conditions.
type verdict string

const (
	noVerdict     verdict = ""
	dropVerdict   verdict = "drop" // or reject
	acceptVerdict verdict = "accept"
	returnVerdict verdict = "return"
	jumpVerdict   verdict = "jump"
	gotoVerdict   verdict = "goto"
	otherVerdict  verdict = "other" // queue, or something unknown that ends the packet's way
)

const (
	// mostJudged bounds how many chains are looked at to judge a base chain.
	mostJudged = 200
	// mostCalls bounds how many calls of chains are followed for what a chain
	// lets in: chains that call each other several times multiply.
	mostCalls = 2000
)

// judge finds out what chains of one table do.
type judge struct {
	// rules lists a chain's rules. It is called once for a chain.
	rules func(chain string) ([]foreignRule, error)
	read  map[string][]foreignRule
	deep  map[string]bool // chains that are being looked at, against loops
	// What was found out is not found out again: there may be more ways from
	// chain to chain than can be gone.
	decided map[string]decided
	idle    map[string]idleness
	calls   int
}

// decided is what [judge.decision] returns.
type decided struct {
	rule int
	does outcome
}

// idleness is what [judge.isIdle] says of a chain.
type idleness struct {
	idle, logs bool
}

func newJudge(rules func(chain string) ([]foreignRule, error)) *judge {
	return &judge{
		rules: rules, read: map[string][]foreignRule{}, deep: map[string]bool{},
		decided: map[string]decided{}, idle: map[string]idleness{},
	}
}

func (j *judge) of(chain string) ([]foreignRule, error) {
	if rules, ok := j.read[chain]; ok {
		return rules, nil
	}
	if len(j.read) >= mostJudged {
		return nil, nil
	}
	rules, err := j.rules(chain)
	if err == nil {
		j.read[chain] = rules
	}
	return rules, err
}

// decision is the first rule of a chain that ends the way of every packet that
// comes to it: its index (the number of rules if there is none) and what it does.
func (j *judge) decision(chain string) (int, outcome, error) {
	if known, ok := j.decided[chain]; ok {
		return known.rule, known.does, nil
	}
	if j.deep[chain] {
		return 0, returns, nil
	}
	j.deep[chain] = true
	defer delete(j.deep, chain)
	rules, err := j.of(chain)
	if err != nil {
		return 0, returns, err
	}
	for i, r := range rules {
		if r.conditional {
			continue
		}
		does, final, err := j.unconditional(r)
		if err != nil {
			return i, does, err
		}
		if final {
			j.decided[chain] = decided{i, does}
			return i, does, nil
		}
	}
	j.decided[chain] = decided{len(rules), returns}
	return len(rules), returns, nil
}

// unconditional says what a rule without conditions does, and whether the
// rules after it are ever reached.
func (j *judge) unconditional(r foreignRule) (does outcome, final bool, err error) {
	switch r.verdict {
	case dropVerdict:
		return drops, true, nil
	case acceptVerdict, otherVerdict:
		return accepts, true, nil
	case returnVerdict:
		return returns, true, nil
	case jumpVerdict:
		_, does, err = j.decision(r.target)
		return does, does != returns, err
	case gotoVerdict:
		_, does, err = j.decision(r.target)
		return does, true, err
	}
	return returns, false, nil
}

// place says in front of which of a base chain's rules one of ours must stand:
// as late as possible, so that whatever else the chain says still counts, but
// before what only logs packets that are about to be dropped. A chain that is
// empty is for somebody to fill.
func (j *judge) place(rules []foreignRule, end int) (int, error) {
	place := end
	for i := end - 1; i >= 0; i-- {
		idle, logs, err := j.isIdle(rules[i])
		if err != nil {
			return end, err
		}
		if !idle {
			break
		}
		if logs {
			place = i
		}
	}
	return place, nil
}

// isIdle says whether a rule decides nothing, nor any chain that it calls, and
// whether any of that logs.
func (j *judge) isIdle(r foreignRule) (idle, logs bool, err error) {
	if r.own != "" || r.verdict != jumpVerdict && r.verdict != gotoVerdict {
		return r.idle, r.logs, nil
	}
	if known, ok := j.idle[r.target]; ok {
		return known.idle, known.logs, nil
	}
	if j.deep[r.target] {
		return false, false, nil
	}
	j.deep[r.target] = true
	defer delete(j.deep, r.target)
	rules, err := j.of(r.target)
	if err != nil {
		return false, false, err
	}
	found := idleness{idle: true}
	for _, called := range rules {
		if called.verdict == returnVerdict {
			continue
		}
		idle, logged, err := j.isIdle(called)
		if err != nil {
			return false, false, err
		}
		if !idle {
			found = idleness{}
			break
		}
		found.logs = found.logs || logged
	}
	j.idle[r.target] = found
	return found.idle, found.logs, nil
}

// program guesses who made a chain by the names in it.
func program(table string, rules []foreignRule) string {
	if table == "firewalld" {
		return "firewalld"
	}
	for name, prefixes := range map[string][]string{"ufw": {"ufw-", "ufw6-"}, "docker": {"DOCKER"}} {
		if slices.ContainsFunc(rules, func(r foreignRule) bool {
			return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(r.target, p) })
		}) {
			return name
		}
	}
	return ""
}
