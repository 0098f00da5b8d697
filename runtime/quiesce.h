// quiesce.h: everything a program of its own needs, and QUIESCE_MAIN.
#ifndef QUIESCE_RUNTIME_QUIESCE_H_
#define QUIESCE_RUNTIME_QUIESCE_H_

#include "quiesce/runtime/blocking/blocking.h"
#include "quiesce/runtime/combinator/bracket.h"
#include "quiesce/runtime/combinator/first_ok.h"
#include "quiesce/runtime/combinator/hedge.h"
#include "quiesce/runtime/combinator/join_all.h"
#include "quiesce/runtime/combinator/join_set.h"
#include "quiesce/runtime/combinator/quorum.h"
#include "quiesce/runtime/combinator/race.h"
#include "quiesce/runtime/combinator/timeout.h"
#include "quiesce/runtime/main.h"
#include "quiesce/runtime/net/tcp_listener.h"
#include "quiesce/runtime/net/tcp_stream.h"
#include "quiesce/runtime/region/region.h"
#include "quiesce/runtime/runtime.h"
#include "quiesce/runtime/signal/shutdown_signal.h"
#include "quiesce/runtime/sync/completion.h"
#include "quiesce/runtime/task/task.h"
#include "quiesce/runtime/task/yield.h"
#include "quiesce/runtime/time/sleep.h"

#endif  // QUIESCE_RUNTIME_QUIESCE_H_
