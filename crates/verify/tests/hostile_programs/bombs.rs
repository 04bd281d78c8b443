//! Programs that want to use up the machine, or not to end.

use verify::program::{Language, Status};

use super::{Case, Contained};

const fn case(
    language: Language,
    name: &'static str,
    contained: Contained,
    source: &'static str,
) -> Case {
    Case { name, language, source, contained }
}

use Contained::{Either, Ended, Refused};
use Language::{JavaScript, Python, Rust, Shell};

pub const CASES: &[Case] = &[
    // Processes.
    case(Shell, "fork_bomb", Either, "bomb() { bomb | bomb & }; bomb; sleep 3100"),
    case(Python, "fork_bomb_that_insists", Either, "
import os
while True:
    try: os.fork()
    except OSError: pass"),
    case(Python, "many_sleeping_children", Either, "
import os, time
count = 0
try:
    while count < 1000:
        if os.fork() == 0: time.sleep(3101); os._exit(0)
        count += 1
except OSError: pass
print('ESCAPED' if count > 100 else 'tried')"),
    case(Python, "many_threads", Either, "
import threading, time
count = 0
try:
    while count < 1000: threading.Thread(target=time.sleep, args=(3102,), daemon=True).start(); count += 1
except RuntimeError: pass
print('ESCAPED' if count > 100 else 'tried', flush=True)
import os; os._exit(0)"),
    case(Python, "daemon", Refused, "
import os, time
print('tried', flush=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        os.execvp('sleep', ['sleep', '3103'])
    os._exit(0)"),
    case(Shell, "background", Refused, "nohup setsid sleep 3104 >/dev/null 2>&1 & disown -a 2>/dev/null; (sleep 3105 &) ; echo tried"),
    case(Python, "child_keeps_the_output_open", Refused, "
import os, time
print('tried', flush=True)
if os.fork() == 0: time.sleep(3106)"),
    case(Python, "leapfrog", Refused, "
import os
print('tried', flush=True)
# Each process ends as soon as it has a child: nobody is there for long enough to be killed.
while True:
    try:
        if os.fork(): os._exit(0)
    except OSError: pass"),
    case(Python, "orphans_that_end", Refused, "
import os
for _ in range(300):
    try:
        if os.fork() == 0:
            os.fork(); os._exit(0)
        os.wait()
    except OSError: pass
print('tried')"),
    // Memory.
    case(Python, "memory", Either, "
blocks = []
while True: blocks.append(b'x' * (1 << 24))"),
    case(Python, "memory_out_of_sight", Ended(Status::OutOfMemory), "
import ctypes, os, time
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
for _ in range(3): os.fork()
x = bytearray(b'x') * (50 << 20)
time.sleep(3111)"),
    case(Python, "memory_at_once", Either, "
x = b'x' * (1 << 40)
print('ESCAPED')"),
    case(Python, "memory_of_many", Either, "
import os, time
for _ in range(10):
    if os.fork() == 0: break
x = bytearray(b'x') * (50 << 20)
time.sleep(3107)"),
    case(Python, "memory_shared_and_forgotten", Refused, "
import mmap
held = []
try:
    for _ in range(40):
        m = mmap.mmap(-1, 50 << 20)
        for i in range(0, len(m), 4096): m[i] = 1
        m.madvise(mmap.MADV_DONTNEED); held.append(m)
    print('ESCAPED')
except (OSError, MemoryError): print('tried')"),
    case(Python, "memory_in_nameless_files", Refused, "
import os
try:
    fd = os.memfd_create('x'); [os.write(fd, b'x' * (1 << 24)) for _ in range(100)]; print('ESCAPED')
except OSError: print('tried')"),
    case(Python, "memory_in_pages_of_tables", Either, "
import mmap
m = mmap.mmap(-1, 1 << 42, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)
m.madvise(15)  # no huge pages
for i in range(0, 1 << 42, 1 << 21): m[i]
print('ESCAPED')"),
    case(JavaScript, "node_heap", Either, "
const all = []; for (;;) all.push(new Array(1e6).fill(Math.random()));"),
    case(JavaScript, "node_buffers", Either, "
const all = []; for (;;) all.push(Buffer.alloc(1 << 24, 1));"),
    case(Rust, "rust_memory", Either, "
fn main() { let mut all = Vec::new(); loop { all.push(vec![1u8; 1 << 24]); } }"),
    case(Python, "pipes_filled", Refused, "
import os
ends = []
try:
    while True:
        r, w = os.pipe(); os.set_blocking(w, False); ends.append(w)
        try: os.write(w, b'x' * (1 << 20))
        except OSError: pass
except OSError: pass
print('ESCAPED' if len(ends) > 200 else 'tried')"),
    // Disk.
    case(Python, "one_large_file", Either, "
try:
    with open('large', 'wb') as f:
        for _ in range(1000): f.write(b'x' * (1 << 20))
    print('ESCAPED')
except OSError: print('tried')"),
    case(Python, "many_large_files", Either, "
try:
    for i in range(1000): open(f'large{i}', 'wb').write(b'x' * (1 << 20))
    print('ESCAPED')
except OSError: print('tried')"),
    case(Python, "many_empty_files", Either, "
import time
try:
    for i in range(1000): open(f'empty{i}', 'w').close()
    time.sleep(0.3)
    for i in range(1000, 100000): open(f'empty{i}', 'w').close()
    print('ESCAPED')
except OSError: print('tried')"),
    case(Python, "sparse_file", Refused, "
import os
try: os.truncate(os.open('sparse', os.O_CREAT | os.O_RDWR), 1 << 50); print('ESCAPED')
except OSError: print('tried')"),
    case(Python, "deleted_but_open", Either, "
import os, time
fds = []
try:
    for i in range(100):
        fds.append(os.open('ghost', os.O_CREAT | os.O_RDWR)); os.unlink('ghost')
        for _ in range(10): os.write(fds[-1], b'x' * (1 << 20))
        time.sleep(0.015)
    print('ESCAPED')
except OSError: print('tried')"),
    case(Python, "deleted_but_mapped", Either, "
import mmap, os, time
maps = []
try:
    for i in range(100):
        fd = os.open('ghost', os.O_CREAT | os.O_RDWR); os.unlink('ghost')
        for _ in range(10): os.write(fd, b'x' * (1 << 20))
        maps.append(mmap.mmap(fd, 10 << 20)); os.close(fd)
        time.sleep(0.015)
    print('ESCAPED')
except OSError: print('tried')"),
    case(Python, "deleted_but_in_flight", Either, "
import os, socket, time
a, b = socket.socketpair(); b.setblocking(False); a.setblocking(False)
try:
    for i in range(100):
        fd = os.open('ghost', os.O_CREAT | os.O_RDWR); os.unlink('ghost')
        for _ in range(10): os.write(fd, b'x' * (1 << 20))
        socket.send_fds(a, [b'x'], [fd]); os.close(fd)
        time.sleep(0.015)
    print('ESCAPED')
except OSError: print('tried')"),
    case(Python, "deep_directories", Either, "
import os
try:
    for _ in range(2000): os.mkdir('d'); os.chdir('d')
except OSError: pass
print('tried')"),
    case(Python, "forbidden_directories", Refused, "
import os
os.umask(0o777)
os.mkdir('a'); os.mkdir('b', 0)
open('c', 'w').close()
print('tried')"),
    case(Python, "links_to_be_followed_when_clearing", Refused, "
import os
os.symlink('{home}', 'home'); os.symlink('/', 'root'); os.mkdir('.cleared-0'); os.symlink('{home}', '.cleared-1')
print('tried')"),
    // Output.
    case(Python, "flood_of_output", Ended(Status::TooMuchOutput), "
while True: print('x' * 100000)"),
    case(Python, "flood_of_errors", Ended(Status::TooMuchOutput), "
import sys
while True: sys.stderr.write('x' * 100000)"),
    case(Shell, "flood_in_two_streams", Ended(Status::TooMuchOutput), "yes & yes >&2; wait"),
    case(Python, "flood_of_nonsense", Ended(Status::TooMuchOutput), "
import os
while True: os.write(1, b'\\xff\\x00\\x1b[2J' * 1000)"),
    // Time.
    case(Python, "endless_loop", Ended(Status::OutOfCpu), "while True: pass"),
    case(Python, "endless_loop_that_ignores_signals", Ended(Status::OutOfCpu), "
import signal
for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass"),
    case(Python, "endless_loops_of_many", Ended(Status::OutOfCpu), "
import os
for _ in range(3): os.fork()
while True: pass"),
    case(Shell, "sleep", Ended(Status::OutOfTime), "sleep 3108"),
    case(Python, "stopped", Ended(Status::OutOfTime), "
import os, signal
os.kill(os.getpid(), signal.SIGSTOP)"),
    case(Python, "silent_and_deaf", Ended(Status::OutOfTime), "
import os, time
for fd in range(3): os.close(fd)
time.sleep(3109)"),
    case(JavaScript, "node_never_ends", Ended(Status::OutOfTime), "setInterval(() => {}, 1000)"),
    case(Rust, "endless_compilation", Either, "
const fn forever() -> u64 { let mut n = 0u64; loop { n = n.wrapping_add(1); if n == u64::MAX { return n; } } }
#[allow(long_running_const_eval)] const N: u64 = forever();
fn main() { println!(\"{N}\") }"),
    case(Rust, "large_compilation", Either, "
static A: [u64; 1 << 28] = { let mut a = [0; 1 << 28]; a[5] = 7; a };
fn main() { println!(\"ESCAPED {}\", A[5]) }"),
    // Crashes.
    case(Rust, "stack_overflow", Ended(Status::Signalled(6)), "
fn f(n: u64) -> u64 { let a = [n; 100]; if n == u64::MAX { 0 } else { std::hint::black_box(f(n + 1) + a[(n % 100) as usize]) } }
fn main() { println!(\"{}\", f(0)) }"),
    case(Python, "core_dump", Ended(Status::Signalled(11)), "
import ctypes; ctypes.string_at(0)"),
];
