#!/bin/bash
# report.sh: ours beside Tokio, in alternating runs in the same minute with the same number of workers.
#
#   ./bazelw run -c opt //testing/bench:report [-- --quick] [-- --workers=N …]
#
# Prints for each row the best figure of both sides over all runs and the ratio ours / Tokio (lower is
# better, at most 1.00 is "not slower"). Exit code 1 if a row is slower, 3 if the peer cannot be built.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
[ -x "$here/quiesce_bench" ] || here=${RUNFILES_DIR:-$0.runfiles}/quiesce/testing/bench
runs=3
workers=(1 2)
usage() {
  echo "usage: report [--quick] [--runs=R] [--workers=N]"
  echo "  --quick      one run of each, with fewer rounds: under two minutes, and noisy"
  echo "  --runs=R     alternating runs of both sides (default 3)"
  echo "  --workers=N  only with N workers (default: 1, then 2)"
}
rounds=3
for argument; do
  case $argument in
    --quick) runs=1; rounds=1 ;;
    --runs=[1-9]*) runs=${argument#*=} ;;
    --workers=[1-9]*) workers=("${argument#*=}") ;;
    -h | --help) usage; exit 0 ;;
    *) echo "report: unknown argument '$argument'" >&2; usage >&2; exit 2 ;;
  esac
done

ours=$here/quiesce_bench
# Kept between reports, since cargo needs a minute for it.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/quiesce/tokio_peer
mkdir -p "$cache"
echo "building the Tokio peer into $cache …" >&2
peer=$("$here/peers/tokio/build.sh" "$cache")

# row: name in the report | our benchmark | our figure | Tokio's benchmark | Tokio's figure | unit
rows=(
  "spawn + join, 1 M tasks|spawn_join|spawn_join|spawn_join|spawn_join|ns"
  "skynet, 1 M leaves|skynet|skynet|skynet|skynet|ns"
  "yield, 100 tasks|yield|yield|yield|yield|ns"
  "cancel 1 M parked, to closed / abort + join|cancel_parked|cancel_parked|cancel_parked_abort|cancel_parked_abort|ns"
  "cancel 1 M parked, cooperative|cancel_parked|cancel_parked|cancel_parked_coop|cancel_parked_coop|ns"
  "cancel 1 M in a sleep, to closed / abort + join|cancel_parked_sleep|cancel_parked_sleep|cancel_parked_sleep|cancel_parked_sleep|ns"
  "timer, insert + cancel|timer|timer|timer|timer|ns"
  "TCP round trip, 64 bytes|tcp_roundtrip|tcp_roundtrip|tcp_roundtrip|tcp_roundtrip|us"
  "TCP, 64 connections, per round trip|tcp_roundtrip_64c|tcp_roundtrip_64c|tcp_roundtrip_64c|tcp_roundtrip_64c|ns"
  "bytes per task parked in a sleep|parked_bytes_sleep|parked_bytes_sleep_usable|parked_bytes_sleep|parked_bytes_sleep_usable|bytes"
  "bytes per task parked without a timer|parked_bytes|parked_bytes_usable|parked_bytes_notify|parked_bytes_notify_usable|bytes"
  "CPU of an idle process, in 2 s|idle_cpu|idle_cpu|idle_cpu|idle_cpu|us"
)

figures=$(mktemp)
trap 'rm -f "$figures"' EXIT
run() { # SIDE PROGRAM BENCH WORKERS: appends "SIDE WORKERS FIGURE VALUE"
  "$2" --bench="$3" --workers="$4" --rounds=$rounds 2>/dev/null |
    awk -v side="$1" -v w="$4" -F'\t' '{ print side, w, $1, $2 }' >>"$figures" ||
    { echo "report: '$2 --bench=$3 --workers=$4' failed" >&2; exit 1; }
}

processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
printf 'Quiesce beside Tokio %s, %s, %s processors (%s), %s\n' \
  "$(dpkg-query -W -f '${Version}' librust-tokio-dev 2>/dev/null || echo '?')" "$(date -u +%Y-%m-%d)" "$(nproc)" \
  "${processor:-unknown}" "$(uname -sr)"
echo "Best of $runs alternating runs. Lower is better; ratio = ours / Tokio."
for w in "${workers[@]}"; do
  done_ours=" "; done_peer=" "
  total=$((runs * ${#rows[@]})); at=0
  for ((r = 0; r < runs; ++r)); do
    done_ours=" "; done_peer=" "
    for row in "${rows[@]}"; do
      IFS='|' read -r name our_bench _ peer_bench _ _ <<<"$row"
      at=$((at + 1))
      [ -t 2 ] && printf '\r\033[K%d workers: %d of %d: %s' "$w" $at $total "$name" >&2
      case $done_ours in *" $our_bench "*) ;; *) run ours "$ours" "$our_bench" "$w"; done_ours+="$our_bench " ;; esac
      case $done_peer in *" $peer_bench "*) ;; *) run tokio "$peer" "$peer_bench" "$w"; done_peer+="$peer_bench " ;; esac
    done
  done
  [ -t 2 ] && printf '\r\033[K' >&2
  printf '\n%-50s %12s %12s %7s   %s\n' "$w worker(s)" ours Tokio ratio unit
  for row in "${rows[@]}"; do
    IFS='|' read -r name _ our_figure _ peer_figure unit <<<"$row"
    awk -v name="$name" -v unit="$unit" -v w="$w" -v of="$our_figure" -v pf="$peer_figure" '
      $2 == w && $1 == "ours" && $3 == of && (o == "" || $4 < o) { o = $4 }
      $2 == w && $1 == "tokio" && $3 == pf && (p == "" || $4 < p) { p = $4 }
      END {
        if (o == "" || p == "") { printf "%-50s no figure\n", name; exit }
        ratio = p == 0 ? 0 : o / p
        printf "%-50s %12.1f %12.1f %7.2f   %s%s\n", name, o, p, ratio, unit, ratio > 1 ? "   slower" : ""
      }' "$figures"
  done
done | tee "$figures.table"
slower=$(grep -c '   slower$' "$figures.table" || true)
rm -f "$figures.table"
echo
if [ "$slower" -gt 0 ]; then echo "$slower row(s) slower than Tokio"; exit 1; fi
echo "no row slower than Tokio"
