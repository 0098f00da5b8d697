// The Go peer of the benchmark report: the standard library and nothing else.
module go_peer

go 1.19 // Debian 12's
