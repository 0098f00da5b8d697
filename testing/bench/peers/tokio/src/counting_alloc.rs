//! The system's allocator with a count of live bytes that is off until `start`.
//!
//! While it is off an allocation pays one relaxed load and a predicted branch, so the timed benchmarks can live in the
//! same program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

pub struct CountingAlloc;

static ON: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicIsize = AtomicIsize::new(0);
static USABLE: AtomicIsize = AtomicIsize::new(0);

/// Starts to count. What was allocated before and is freed later is subtracted, so read differences only.
pub fn start() {
    ON.store(true, Relaxed);
}

/// Live bytes since `start`: as asked for, and as handed out by the allocator (rounding and alignment included).
pub fn live() -> (isize, isize) {
    (REQUESTED.load(Relaxed), USABLE.load(Relaxed))
}

/// Safety: `block` is live and `layout` is what it was allocated with.
#[cold]
unsafe fn count(sign: isize, block: *mut u8, layout: Layout) {
    if !block.is_null() {
        REQUESTED.fetch_add(sign * layout.size() as isize, Relaxed);
        USABLE.fetch_add(sign * libc::malloc_usable_size(block.cast()) as isize, Relaxed);
    }
}

// Safety: every call goes to `System` unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for CountingAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = System.alloc(layout);
        if ON.load(Relaxed) {
            count(1, block, layout);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if ON.load(Relaxed) {
            count(-1, block, layout);
        }
        System.dealloc(block, layout);
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = System.alloc_zeroed(layout);
        if ON.load(Relaxed) {
            count(1, block, layout);
        }
        block
    }

    // `realloc` keeps its default, made of the two above: nothing here reallocates on a measured path.
}
