//! The long help of each command: examples, fields, exit status.

pub(super) const MAIN: &str = "\
Examples:
  bcon format /dev/sdb                   make a console of a disk
  bcon format disk.img --size 64M        make an image that holds one
  bcon list disk.img                     what is on it
  bcon cat disk.img --boot last          the last boot's log
  bcon crash disk.img --elf kernel       why it crashed, with functions and lines

TARGET is a block device, a partition, a raw image, or a file that holds a console; partitions inside are found. `-` is
standard input.

Exit status:
  0   done; `crash`: the record is whole; `verify`: nothing is damaged
  1   `crash`: there is no record; `verify`: something is damaged; `list`: there is no console
  2   `crash`: there is a record, but it is damaged
  3   failed, as said on standard error; of several targets, at least one
  64  wrong use of the command line";

pub(super) const FORMAT: &str = "\
Examples:
  bcon format /dev/sdb2                        a partition of a disk
  bcon format disk.img --size 64M              a new image
  bcon format usb.img --partition 2            a partition of an image
  bcon format esp.img --log-file               the file BCON.LOG on a FAT volume

The first MiB is zeroed, and its first sector becomes a header, as the Linux driver's own tool does it; nothing else is
touched. What is mounted or in use is always refused, and what is not empty without --force.

Exit status: 0 it is a console now, 3 refused or failed, 64 wrong use.";

pub(super) const LIST: &str = "\
Examples:
  bcon list /dev/sdb disk.img           two targets
  bcon list snapshots/                  every image of a folder
  bcon list disk.img --output json | jq '.[].last_crash'

How the last boot ended: a crash record's reason; `no crash, it finished` where the kernel's last line says so; and `no crash, cut off
or still running` where nothing does: the machine hung, was switched off, or goes on.

Fields of --output json, a list of objects; null where it is not known:
  console        what the console is called       last_time    seconds of the newest line since its boot
  uuid           the console's uuid               end          clean, crash or cut
  round          how often the log has wrapped    last_crash   the last boot's record: id, whole, reason
  used_tiles     tiles that hold text of it       kept_tiles   tiles of records that are kept
  tiles          all its tiles                    kept_boots   the boots that left those
  oldest_boot    number of the oldest boot        notes        what is odd, in words
  newest_boot    number of the newest boot
  first_started  when the oldest boot began       last_started when the newest boot began

Exit status: 0 done, 1 there is no console, 3 a target failed (of a folder, a file that cannot be read, such as a qcow2
image), 64 wrong use.";

pub(super) const CAT: &str = "\
Examples:
  bcon cat disk.img --boot last --level warn
  bcon cat disk.img --grep 'nvme.*timeout' --context 3
  bcon cat images/ --output json | jq 'select(.crash)'

Fields of --output json, absent where they are not known:
  console  what the console is called         time     seconds since that boot's start
  uuid     the console's uuid                 level    error, warn, info, debug, trace
  boot     number of the boot                 target   who logged it
  tile     number of the tile                 message  what was logged
  crash    true for a crash record's lines; their message is the whole line
  stale    true for lines that may be older than those before them, as on disks that Linux wrote

--output journal is systemd's journal export format:
  bcon cat disk.img --output journal | systemd-journal-remote -o disk.journal -
  journalctl --file disk.journal
A boot that does not know when it began is dated so many days after 1970 as its number says.

Lines of a crash record count as errors for --level. Lines without a level are printed whatever --level says, and lines
without a time or a target are left out by --since, --until and --target.

Colours are for terminals, and not if NO_COLOR is set. --output journal and raw are not shown on a terminal.

Exit status: 0 done (what is damaged is said on standard error), 3 a target failed, 64 wrong use.";

pub(super) const TAIL: &str = "\
Examples:
  bcon tail disk.img -n 50
  bcon tail -f /dev/sdb --level warn    lines as they are written, over wraps and new boots

The fields of --output json are those of `bcon cat`.

Exit status: 0 done, 3 failed, 64 wrong use. With -f it ends only by a signal, or when the disk fails or is formatted anew.";

pub(super) const CRASH: &str = "\
Examples:
  bcon crash disk.img --elf target/release/kernel
  bcon crash --all images/ --elf builds/       many disks: how often each crash, and where

Fields of --output json, null where the record does not say:
  console    what the console is called          trap       the trap, if it was one
  id         the crash's own number              registers  by their names
  whole      whether it is as it was written     consoles   the state of each when it crashed
  damage     what is wrong, in words             frames     of the backtrace: address, functions, each with
  boot       number of the boot                             function, file, line, column, inlined
  tile       tile that it begins in              stack      pieces of it: address, words
  reason     what happened                       notes      what was left out
  place      where in the source                 other      lines of no known form
  version, build, uptime, cpu                    of the program and processor
With --all: crashes, a list of count, damaged, kind, place, reason (the most frequent), reasons, consoles; without_crash; failed.

Exit status: 0 the record is whole, 1 there is none, 2 it is damaged, 3 failed. A program whose build id is another than
the record's is refused, with status 3: its addresses would mean something else; the record is printed without functions then.
With --all: 0, 1 and 2 the same of all records together, 3 if a target cannot be read.";

pub(super) const VERIFY: &str = "\
Examples:
  bcon verify disk.img
  bcon verify images/ --output json | jq '.[] | select(.damages > 0)'
  bcon verify disk.img --uuid 0badcafe  looks for the tiles of a console whose beginning is lost

Fields of --output json, a list of objects:
  console  what the console is called     notes     how much is merely worth knowing
  damages  how much is damaged or lost    findings  each with damage (true or false), byte, what

Exit status: 0 nothing is damaged, 1 something is, 3 a target failed, 64 wrong use.";

pub(super) const EXTENTS: &str = "\
Example, for a file on a mounted file system that stays where it is:
  dd if=/dev/zero of=/boot/bcon.log bs=1M count=64
  bcon format /boot/bcon.log && sync
  bcon extents /boot/bcon.log                  prints bcon.extents=sda:2048+131072, for the kernel's command line

Exit status: 0 done, 3 the file is not fit or cannot be read, 64 wrong use.";

pub(super) const COMPLETIONS: &str = "\
Example:
  bcon completions bash > /etc/bash_completion.d/bcon

Exit status: 0 done, 3 failed, 64 wrong use.";

pub(super) const MAN: &str = "\
Examples:
  bcon man | man -l -
  bcon man /usr/local/share/man/man1

Exit status: 0 done, 3 failed, 64 wrong use.";
