package main

// cancel_context_tree: from the root's cancel until n parked goroutines have ended.

import (
	"context"
	"runtime/debug"
	"sync"
	"time"
)

// A tree of contexts, ten children each, with n leaves; a goroutine is parked in each leaf.
func cancelContextTree(a arguments) {
	reportBest(
		powerOfTen(a),
		idiom{"context_per_leaf", func(n int) time.Duration { return cancelRound(n, true) }},
		idiom{"context_per_ten_leaves", func(n int) time.Duration { return cancelRound(n, false) }},
	)
}

func cancelRound(n int, perLeaf bool) time.Duration {
	// It would go through a growing million of stacks again and again. The measured part allocates next to nothing.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var ended sync.WaitGroup
	ended.Add(n)
	root, cancel := context.WithCancel(context.Background())
	if n == 1 {
		go parkUntilDone(root, &ended)
	} else {
		growTree(root, n, perLeaf, &ended)
	}
	allParked(n)
	start := time.Now()
	cancel()
	ended.Wait()
	return time.Since(start)
}

func growTree(parent context.Context, leaves int, perLeaf bool, ended *sync.WaitGroup) {
	for i := 0; i < 10; i++ {
		switch {
		case leaves > 10:
			growTree(childOf(parent), leaves/10, perLeaf, ended)
		case perLeaf:
			go parkUntilDone(childOf(parent), ended)
		default:
			go parkUntilDone(parent, ended)
		}
	}
}

// childOf leaves out each context's own cancel: the root's takes all of the tree apart, and a call at the end of each
// goroutine would only find that out.
func childOf(parent context.Context) context.Context {
	child, cancel := context.WithCancel(parent)
	_ = cancel
	return child
}

func parkUntilDone(ctx context.Context, ended *sync.WaitGroup) {
	parking.Add(1)
	<-ctx.Done()
	ended.Done()
}
