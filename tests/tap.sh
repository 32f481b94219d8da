#!/bin/sh
# Runs a test program; cmocka 1.1.5 reports a skipped test as "not ok N # SKIP name", which TAP counts as a failure.
lines=$("$@")
status=$?
printf '%s\n' "$lines" | sed 's/^not ok \([0-9]*\) # SKIP \(.*\)/ok \1 - \2 # SKIP/'
exit $status
