package main

// Locks: one goroutine that finds them free, and two that have to wait for each other.

import (
	"runtime"
	"sync"
	"time"
)

// One goroutine locks, counts, unlocks.
func mutex(a arguments) {
	reportBest(a, idiom{"lock", mutexAlone}, idiom{"try_first", mutexTryFirst})
}

func mutexAlone(n int) time.Duration {
	var lock sync.Mutex
	count := 0
	start := time.Now()
	for i := 0; i < n; i++ {
		lock.Lock()
		count++
		lock.Unlock()
	}
	took := time.Since(start)
	check(count == n, "the count of mutex")
	return took
}

func mutexTryFirst(n int) time.Duration {
	var lock sync.Mutex
	count := 0
	start := time.Now()
	for i := 0; i < n; i++ {
		if !lock.TryLock() {
			lock.Lock()
		}
		count++
		lock.Unlock()
	}
	took := time.Since(start)
	check(count == n, "the count of mutex")
	return took
}

// Two goroutines do it, n/2 times each. They only meet on two workers.
func mutexContended(a arguments) {
	reportBest(
		sharedBy(2, a),
		idiom{"lock", func(n int) time.Duration {
			var lock sync.Mutex
			return pairRound(n, func(count *int, times int) {
				for i := 0; i < times; i++ {
					lock.Lock()
					*count++
					lock.Unlock()
				}
			})
		}},
		idiom{"channel", func(n int) time.Duration {
			lock := make(chan struct{}, 1)
			return pairRound(n, func(count *int, times int) {
				for i := 0; i < times; i++ {
					lock <- struct{}{}
					*count++
					<-lock
				}
			})
		}},
	)
}

// The same with a yield while it is locked, so that nearly each lock waits for the other goroutine's unlock. A channel
// hands the lock to who waits; a Mutex lets whoever comes first take it.
func mutexContendedYield(a arguments) {
	reportBest(
		sharedBy(2, a),
		idiom{"lock", func(n int) time.Duration {
			var lock sync.Mutex
			return pairRound(n, func(count *int, times int) {
				for i := 0; i < times; i++ {
					lock.Lock()
					*count++
					runtime.Gosched()
					lock.Unlock()
				}
			})
		}},
		idiom{"channel", func(n int) time.Duration {
			lock := make(chan struct{}, 1)
			return pairRound(n, func(count *int, times int) {
				for i := 0; i < times; i++ {
					lock <- struct{}{}
					*count++
					runtime.Gosched()
					<-lock
				}
			})
		}},
	)
}

// Two goroutines count up under a lock of theirs.
func pairRound(n int, countUp func(count *int, times int)) time.Duration {
	count := 0
	half := func() { countUp(&count, n/2) }
	took := together(half, half)
	check(count == n, "the count of two goroutines")
	return took
}

// One goroutine takes the only permit and gives it back. A buffered channel is Go's semaphore.
func semaphore(a arguments) {
	reportBest(a, idiom{"channel", func(n int) time.Duration {
		permits := make(chan struct{}, 1)
		start := time.Now()
		for i := 0; i < n; i++ {
			permits <- struct{}{}
			<-permits
		}
		took := time.Since(start)
		check(len(permits) == 0, "the permits of semaphore")
		return took
	}})
}

// One goroutine reads nine times, then writes once.
func rwlock(a arguments) {
	reportBest(a, idiom{"lock", func(n int) time.Duration {
		var lock sync.RWMutex
		written := 0
		start := time.Now()
		for i := 0; i < n; i++ {
			if i%10 == 9 {
				lock.Lock()
				written++
				lock.Unlock()
			} else {
				lock.RLock()
				check(written == i/10, "what rwlock read")
				lock.RUnlock()
			}
		}
		return time.Since(start)
	}})
}
