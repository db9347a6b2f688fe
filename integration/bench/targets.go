package main

import "fmt"

// target is what the project promises about a case. Fields that are 0 promise
// nothing.
type target struct {
	most         float64 // ratio
	least        float64 // ratio
	milliseconds float64 // at most, the median
	flawless     bool    // no call of ours fails
}

func targets() map[string]target {
	return map[string]target{
		"add":                  {most: 0.45},
		"add-dual-over-single": {most: 1.2},
		"add-masquerade":       {most: 0.2},
		"add-hostport":         {most: 0.15},
		"del":                  {most: 0.25},
		"check":                {milliseconds: 15},
		"status":               {milliseconds: 20},
		"add-parallel-8":       {least: 2},
		"add-parallel-256":     {flawless: true},
		"add-at-60000":         {most: 2},
		"ipam-add-at-60000":    {most: 2},
		"ipam-del-at-60000":    {most: 2},
		"version":              {most: 2},
	}
}

// String is empty for no promise.
func (t target) String() string {
	switch {
	case t.most > 0:
		return fmt.Sprintf("at most %g", t.most)
	case t.least > 0:
		return fmt.Sprintf("at least %g", t.least)
	case t.milliseconds > 0:
		return fmt.Sprintf("median at most %g ms", t.milliseconds)
	case t.flawless:
		return "no error"
	}
	return ""
}

// judgement of a target.
type judgement string

const (
	met    judgement = "met"
	missed judgement = "missed"
)

func (t target) judge(x result) judgement {
	if t.most > 0 && x.Ratio > t.most || t.least > 0 && x.Ratio < t.least ||
		t.milliseconds > 0 && x.P50 > t.milliseconds || t.flawless && x.subject.failed > 0 {
		return missed
	}
	return met
}

// verdict names the promise and whether it is kept; without one it is empty.
func verdict(x result) string {
	t, promised := targets()[x.Case]
	if !promised {
		return ""
	}
	return fmt.Sprintf("%s: %s", t, t.judge(x))
}

// maxPluginBytes is what the main plugin may weigh.
const maxPluginBytes = 7_000_000
