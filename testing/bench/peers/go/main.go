// go_peer: the Go side of the benchmark report. README.md says what each benchmark does.
//
// Usage: go_peer --bench=NAME --workers=N [--n=COUNT] [--rounds=R] [--seconds=S]
// Prints one line `NAME<TAB>VALUE<TAB>UNIT` for each figure on stdout; where several idioms were tried, the fastest is
// the figure and each of them is a `#` line on stderr.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// What the command line said.
type arguments struct {
	name    string
	workers int
	n       int
	rounds  int
	seconds int // Taken since the report passes it to every program; nothing here lasts a given time.
}

var benches = []struct {
	name     string
	defaultN int
	run      func(arguments)
}{
	{"spawn_join", 1_000_000, spawnJoin},
	{"skynet", 1_000_000, skynet},
	{"yield", 1_000_000, yield},
	{"cancel_context_tree", 1_000_000, cancelContextTree},
	{"channel_roundtrip", 1_000_000, channelRoundtrip},
	{"mpsc_4p", 10_000_000, mpscFourProducers},
	{"mutex", 10_000_000, mutex},
	{"mutex_contended", 2_000_000, mutexContended},
	{"mutex_contended_yield", 1_000_000, mutexContendedYield},
	{"semaphore", 10_000_000, semaphore},
	{"rwlock", 10_000_000, rwlock},
	{"timer", 1_000_000, timer},
	{"timers_live", 1_000_000, timersLive},
	{"timer_lateness", 10_000, timerLateness},
	{"tcp_roundtrip", 50_000, tcpRoundtrip},
	{"tcp_roundtrip_64c", 192_000, tcpRoundtrip64},
	{"parked_bytes", 100_000, parkedBytes},
}

func main() {
	a := arguments{rounds: 5, seconds: 2}
	chosen := -1
	for _, argument := range os.Args[1:] {
		flag, value, isFlag := strings.Cut(argument, "=")
		if !isFlag {
			badUsage("'%s' is not --FLAG=VALUE", argument)
		}
		if flag == "--bench" {
			for i, bench := range benches {
				if bench.name == value {
					chosen = i
				}
			}
			if chosen < 0 {
				badUsage("no benchmark '%s'", value)
			}
			continue
		}
		numbers := map[string]*int{"--workers": &a.workers, "--n": &a.n, "--rounds": &a.rounds, "--seconds": &a.seconds}
		number := numbers[flag]
		if number == nil {
			badUsage("unknown flag '%s'", flag)
		}
		given, err := strconv.Atoi(value)
		if err != nil || given < 1 {
			badUsage("'%s' needs a positive whole number", argument)
		}
		*number = given
	}
	if chosen < 0 {
		badUsage("--bench=NAME is missing")
	}
	if a.workers == 0 {
		badUsage("--workers=N is missing")
	}
	a.name = benches[chosen].name
	if a.n == 0 {
		a.n = benches[chosen].defaultN
	}
	runtime.GOMAXPROCS(a.workers)
	tuneCollector()
	benches[chosen].run(a)
}

func badUsage(problem string, details ...any) {
	var names []string
	for _, bench := range benches {
		names = append(names, bench.name)
	}
	fmt.Fprintf(os.Stderr, "go_peer: "+problem+"\n", details...)
	fmt.Fprintln(os.Stderr, "usage: go_peer --bench=NAME --workers=N [--n=COUNT] [--rounds=R] [--seconds=S]")
	fmt.Fprintln(os.Stderr, "benches: "+strings.Join(names, " "))
	os.Exit(2)
}
