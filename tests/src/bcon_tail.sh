#!/bin/sh
# The end of a console's log as the Linux driver's own script finds it, from FORMAT.md alone: 32 bytes of magic, halving
# by the first 50 bytes of tiles, and then at most the last 16 tiles as they are.
# Usage: bcon_tail.sh DISK COPY. Prints the number of the newest tile.
set -eu
disk=$1
copy=$2
tile=1048576

# So many bytes of the disk from a tile's beginning on, in hexadecimal digits.
start_of() {
    tail -c "+$(($1 * tile + 1))" "$disk" | head -c "$2" | od -An -v -tx1 | tr -d ' \n'
}

magic=$(printf '\nLinux blockconsole version 1.1\n' | od -An -v -tx1 | tr -d ' \n')
[ "$(start_of 0 32)" = "$magic" ] || { echo "no console" >&2; exit 1; }
reference=$(start_of 0 50)
low=0
high=$(($(wc -c <"$disk") / tile))
while [ $((high - low)) -gt 1 ]; do
    middle=$(((low + high) / 2))
    if [ "$(start_of "$middle" 50)" = "$reference" ]; then low=$middle; else high=$middle; fi
done
count=$((low + 1))
[ "$count" -le 16 ] || count=16
dd if="$disk" of="$copy" bs="$tile" skip=$((low + 1 - count)) count="$count" 2>/dev/null
echo "$low"
