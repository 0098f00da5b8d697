package main

// spawn_join, skynet and yield: the scheduler alone.

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// One goroutine starts n that do nothing, then waits for all of them.
func spawnJoin(a arguments) {
	// For comparison only, since the spawner may not yield: what piles up until Go preempts it fits into no cache.
	best(a, idiom{"yielding", func(n int) time.Duration { return spawnWaitGroup(n, 100) }})
	reportBest(
		a,
		idiom{"wait_group", func(n int) time.Duration { return spawnWaitGroup(n, n) }},
		idiom{"channel", spawnChannel},
	)
}

// One func value for all goroutines: `go f(x)` would allocate a closure for each.
func spawnWaitGroup(n, yieldAfter int) time.Duration {
	start := time.Now()
	var ended sync.WaitGroup
	ended.Add(n)
	task := func() { ended.Done() }
	for i := 1; i <= n; i++ {
		go task()
		if i%yieldAfter == 0 {
			runtime.Gosched()
		}
	}
	ended.Wait()
	return time.Since(start)
}

// The channel has room for all, or goroutines would pile up in it until the spawner comes to receive.
func spawnChannel(n int) time.Duration {
	start := time.Now()
	ended := make(chan struct{}, n)
	task := func() { ended <- struct{}{} }
	for i := 0; i < n; i++ {
		go task()
	}
	for i := 0; i < n; i++ {
		<-ended
	}
	return time.Since(start)
}

// A tree of goroutines with ten children each and n leaves; a leaf yields its number, a parent the sum of its
// children. The time is for each leaf.
func skynet(a arguments) {
	reportBest(
		powerOfTen(a),
		idiom{"channel", skynetRound(viaChannel)},
		idiom{"wait_group", skynetRound(viaWaitGroup)},
		idiom{"countdown", skynetRound(viaCountdown)},
	)
}

func skynetRound(start func(leaves int, sum chan<- int)) func(n int) time.Duration {
	return func(n int) time.Duration {
		begun := time.Now()
		sum := make(chan int, 1)
		go start(n, sum)
		total := <-sum
		took := time.Since(begun)
		check(total == n*(n-1)/2, "skynet's sum")
		return took
	}
}

// The usual way: a channel for each parent, with room for its children's numbers.
func viaChannel(leaves int, sum chan<- int) { channelNode(0, leaves, sum) }

func channelNode(first, leaves int, sum chan<- int) {
	if leaves == 1 {
		sum <- first
		return
	}
	each := leaves / 10
	numbers := make(chan int, 10)
	for i := 0; i < 10; i++ {
		go channelNode(first+i*each, each, numbers)
	}
	total := 0
	for i := 0; i < 10; i++ {
		total += <-numbers
	}
	sum <- total
}

// What the ten children of a node share. A child draws its place, so that one func value does for all ten.
type siblings struct {
	first, each int // The number of the first leaf; the leaves of each child.
	drawn       atomic.Int32
	sum         atomic.Int64
}

func (s *siblings) draw() (first int) { return s.first + int(s.drawn.Add(1)-1)*s.each }

// The parent sleeps in a WaitGroup.
func viaWaitGroup(leaves int, sum chan<- int) { sum <- waitGroupNode(0, leaves) }

type waitingParent struct {
	siblings
	ended sync.WaitGroup
}

func waitGroupNode(first, leaves int) int {
	if leaves == 1 {
		return first
	}
	parent := &waitingParent{siblings: siblings{first: first, each: leaves / 10}}
	parent.ended.Add(10)
	child := parent.child
	for i := 0; i < 10; i++ {
		go child()
	}
	parent.ended.Wait()
	return int(parent.sum.Load())
}

func (p *waitingParent) child() {
	p.sum.Add(int64(waitGroupNode(p.draw(), p.each)))
	p.ended.Done()
}

// Nobody sleeps: a parent's goroutine ends once it has started its children, and the last of them goes on with what
// the parent would do.
func viaCountdown(leaves int, sum chan<- int) {
	if leaves == 1 {
		sum <- 0
		return
	}
	countdownNode(&endedParent{siblings: siblings{each: leaves / 10}, root: sum})
}

type endedParent struct {
	siblings
	left   atomic.Int32
	parent *endedParent
	root   chan<- int // Only of the one without a parent.
}

func countdownNode(node *endedParent) {
	node.left.Store(10)
	child := node.child
	for i := 0; i < 10; i++ {
		go child()
	}
}

func (p *endedParent) child() {
	first := p.draw()
	if p.each > 1 {
		countdownNode(&endedParent{siblings: siblings{first: first, each: p.each / 10}, parent: p})
		return
	}
	p.sum.Add(int64(first))
	for p.left.Add(-1) == 0 {
		total := p.sum.Load()
		if p.parent == nil {
			p.root <- int(total)
			return
		}
		p = p.parent
		p.sum.Add(total)
	}
}

const yieldingTasks = 100

// 100 goroutines yield n/100 times each.
func yield(a arguments) {
	reportBest(sharedBy(yieldingTasks, a), idiom{"gosched", yieldRound})
}

func yieldRound(n int) time.Duration {
	tasks := make([]func(), yieldingTasks)
	for i := range tasks {
		tasks[i] = func() {
			for i := 0; i < n/yieldingTasks; i++ {
				runtime.Gosched()
			}
		}
	}
	return together(tasks...)
}
