package main

// parked_bytes: what waiting costs.

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// Growth of memory for each of n goroutines parked in one channel that nobody sends to. One round only: a second would
// find its goroutines there already.
func parkedBytes(a arguments) {
	stop := make(chan struct{})
	park := func() {
		parking.Add(1)
		<-stop
	}
	heap, stack, resident := memory()
	for i := 0; i < a.n; i++ {
		go park()
	}
	allParked(a.n)
	heapAfter, stackAfter, residentAfter := memory()
	check(runtime.NumGoroutine() == a.n+1, "the number of goroutines")
	heap, stack, resident = heapAfter-heap, stackAfter-stack, residentAfter-resident
	n := float64(a.n)
	note("%s: %.1f bytes of heap, %.1f of stack", a.name, float64(heap)/n, float64(stack)/n)
	figure(a.name+"_usable", float64(heap+stack)/n, "bytes")
	figure(a.name+"_rss", float64(resident)/n, "bytes")
	close(stop)
}

// memory collects first and gives free memory back to the system, so that only what lives is counted.
func memory() (heap, stack, resident int64) {
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	statm, err := os.ReadFile("/proc/self/statm")
	checkDone(err)
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	checkDone(err)
	return int64(stats.HeapAlloc), int64(stats.StackInuse), pages * int64(os.Getpagesize())
}
