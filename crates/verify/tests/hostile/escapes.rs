//! Programs that want something outside: files, the network, other processes, rights.

use verify::program::{Language, Status};

use super::{Case, Contained};

const fn python(name: &'static str, source: &'static str) -> Case {
    Case { name, language: Language::Python, source, contained: Contained::Refused }
}

const fn shell(name: &'static str, source: &'static str) -> Case {
    Case { name, language: Language::Shell, source, contained: Contained::Refused }
}

const fn node(name: &'static str, source: &'static str) -> Case {
    Case { name, language: Language::JavaScript, source, contained: Contained::Refused }
}

pub const CASES: &[Case] = &[
    // Files.
    python("read_home", "
for path in ('{home}/canary', '/proc/self/root{home}/canary', '/tmp/../{home}/canary'):
    try: print('ESCAPED', open(path).read())
    except OSError: pass
print('tried')"),
    python("overwrite_home", "
for mode in 'wa':
    try: open('{home}/canary', mode).write('ESCAPED'); print('ESCAPED')
    except OSError: pass
print('tried')"),
    python("delete_home", "
import os, shutil
for act in (lambda: os.unlink('{home}/canary'), lambda: shutil.rmtree('{home}'), lambda: os.rename('{home}/canary', '/tmp/c'), lambda: os.truncate('{home}/canary', 0)):
    try: act(); print('ESCAPED')
    except OSError: pass
print('tried')"),
    python("change_mode_and_time", "
import os
for act in (lambda: os.chmod('{home}/canary', 0), lambda: os.utime('{home}/canary', (0, 0)), lambda: os.chown('{home}/canary', os.getuid(), -1), lambda: os.setxattr('{home}/canary', 'user.x', b'1')):
    try: act(); print('ESCAPED')
    except OSError: pass
print('tried')"),
    python("create_in_home", "
import os
for act in (lambda: open('{home}/new', 'w'), lambda: os.mkdir('{home}/new'), lambda: os.symlink('/', '{home}/new'), lambda: os.mkfifo('{home}/new')):
    try: act(); print('ESCAPED')
    except OSError: pass
print('tried')"),
    python("symlink_to_home", "
import os
os.symlink('{home}', 'link'); os.symlink('{home}/canary', 'file'); os.symlink('/proc/self/root', 'root')
for path in ('link/canary', 'file', 'root{home}/canary'):
    for mode in ('r', 'a'):
        try: print('ESCAPED', open(path, mode).read())
        except OSError: pass
print('tried')"),
    python("hard_link_home", "
import os
for act in (lambda: os.link('{home}/canary', 'mine'), lambda: os.link('/etc/shadow', 'mine'), lambda: os.link('/proc/1/exe', 'mine')):
    try: act(); print('ESCAPED')
    except OSError: pass
print('tried')"),
    shell("read_secrets_of_the_system", "
for f in /etc/shadow /etc/sudoers /etc/ssh/ssh_host_rsa_key /root/.bashrc /var/log/syslog /run/docker.sock; do
  cat $f 2>/dev/null && [ -s $f ] && echo ESCAPED $f
done
ls /root /home /var /boot /srv 2>/dev/null | grep -q . && echo ESCAPED listing
echo tried"),
    shell("write_to_the_system", "
for d in / /usr /usr/bin /usr/lib /bin /etc /dev /dev/shm/.. /proc /box /box/program; do
  ( echo x > $d/planted ) 2>/dev/null && echo ESCAPED $d
  mkdir $d/planted_dir 2>/dev/null && [ $d != /dev/shm/.. ] && echo ESCAPED $d
done
rm -rf --no-preserve-root / 2>/dev/null
echo tried"),
    python("walk_upwards", "
import os
for _ in range(50):
    try: os.chdir('..')
    except OSError: break
for path in ('.{home}/canary', '../../../../..{home}/canary'):
    try: print('ESCAPED', open(path).read())
    except OSError: pass
print('tried')"),
    python("chroot_and_back", "
import os
try:
    os.mkdir('jail'); os.chroot('jail')
    for _ in range(50): os.chdir('..')
    os.chroot('.'); print('ESCAPED')
except OSError: pass
print('tried')"),
    python("devices", "
import os, stat
for path in ('/dev/sda', '/dev/vda', '/dev/mem', '/dev/kmsg', '/dev/port', '/dev/tty', '/dev/ptmx', '/dev/fuse', '/dev/kvm', '/dev/loop-control', '/dev/zero'):
    try: os.open(path, os.O_RDWR); print('ESCAPED', path)
    except OSError: pass
for kind in (stat.S_IFBLK, stat.S_IFCHR):
    try: os.mknod('device', 0o666 | kind, os.makedev(1, 1)); print('ESCAPED')
    except OSError: pass
print('tried')"),
    python("inherited_descriptors", "
import os
for fd in range(3, 256):
    try: os.fstat(fd); print('ESCAPED', fd, os.readlink(f'/proc/self/fd/{fd}'))
    except OSError: pass
import stat
if stat.S_ISSOCK(os.fstat(0).st_mode): print('ESCAPED socket')
try: os.write(0, b'x'); print('ESCAPED stdin')
except OSError: pass
print('tried')"),
    python("environment", "
import os
for name in os.environ:
    if name not in ('PATH', 'HOME', 'TMPDIR', 'LANG', 'OPENSSL_CONF'): print('ESCAPED', name)
for path in ('/proc/1/environ', '/proc/{parent}/environ', f'/proc/{os.getppid()}/environ'):
    try: print('ESCAPED' if open(path).read() else '')
    except OSError: pass
print('tried')"),
    // Processes.
    python("kill_the_parent", "
import os, signal
for pid in ({parent}, {bystander}, os.getppid(), 1):
    for sig in (signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV, signal.SIGUSR1, signal.SIGCHLD, signal.SIGKILL):
        try: os.kill(pid, sig)
        except OSError: pass
print('tried')"),
    Case {
        name: "kill_everyone",
        language: Language::Python,
        source: "
import os, signal
for pid in (-1, -{parent}, -{bystander}, -os.getppid()):
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
print('tried')",
        contained: Contained::Either,
    },
    python("signals_by_other_means", "
import fcntl, os, signal, threading
r, w = os.pipe()
for act in (lambda: fcntl.fcntl(r, fcntl.F_SETOWN, {bystander}), lambda: fcntl.ioctl(r, 0x8901, ({bystander}).to_bytes(4, 'little')),
            lambda: signal.pidfd_send_signal(os.pidfd_open({bystander}), signal.SIGKILL),
            lambda: signal.pidfd_send_signal(os.pidfd_open({parent}), signal.SIGKILL)):
    try: act(); print('ESCAPED')
    except (OSError, OverflowError): pass
print('tried')"),
    python("ptrace", "
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
for pid in ({parent}, {bystander}, os.getppid(), 1):
    for request in (16, 0x4206):  # attach, seize
        if c.ptrace(request, pid, 0, 0) == 0: print('ESCAPED')
if c.ptrace(0, 0, 0, 0) == 0: print('ESCAPED traceme')
print('tried')"),
    python("memory_of_others", "
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(8)
class V(ctypes.Structure): _fields_ = [('b', ctypes.c_void_p), ('l', ctypes.c_size_t)]
own, far = V(ctypes.addressof(buffer), 8), V(0x400000, 8)
for pid in ({parent}, os.getppid(), 1):
    for call in (c.process_vm_readv, c.process_vm_writev):
        if call(pid, ctypes.byref(own), 1, ctypes.byref(far), 1, 0) > 0: print('ESCAPED')
    for mode in ('rb', 'r+b'):
        try: open(f'/proc/{pid}/mem', mode); print('ESCAPED', pid)
        except OSError: pass
print('tried')"),
    python("proc_of_others", "
import os
for pid in ({parent}, {bystander}, 1):
    for name in ('root', 'cwd', 'exe', 'fd', 'maps', 'root{home}/canary', 'cwd/Cargo.toml', 'fd/0', 'fd/3'):
        path = f'/proc/{pid}/{name}'
        for act in (os.listdir, os.readlink, lambda p: open(p).read(1)):
            try: act(path); print('ESCAPED', path)
            except OSError: pass
print('tried')"),
    python("proc_of_the_machine", "
import os
for path in ('sysrq-trigger', 'sys/kernel/core_pattern', 'sys/kernel/hostname', 'sys/vm/drop_caches', 'kcore', 'kmsg', 'self/oom_adj', 'self/uid_map', 'self/attr/current', 'sys/fs/binfmt_misc/register'):
    try: os.write(os.open('/proc/' + path, os.O_RDWR), b'c'); print('ESCAPED', path)
    except OSError: pass
try: open('/proc/self/oom_score_adj', 'w').write('-1000'); print('ESCAPED oom')
except OSError: pass
print('tried')"),
    python("limits_of_others", "
import os, resource
for pid in ({parent}, {bystander}, os.getppid(), 1):
    for act in (lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)), lambda: os.sched_setaffinity(pid, {0}),
                lambda: os.setpriority(os.PRIO_PROCESS, pid, 19), lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))):
        try: act(); print('ESCAPED', pid)
        except OSError: pass
print('tried')"),
    python("raise_own_limits", "
import os, resource
for what in (resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_NOFILE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_CORE):
    try: resource.setrlimit(what, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)); print('ESCAPED', what)
    except (OSError, ValueError): pass
try: os.nice(-5); print('ESCAPED')
except OSError: pass
print('tried')"),
    // Network.
    python("tcp_to_the_machine", "
import socket
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::ffff:127.0.0.1'), (socket.AF_INET, '0.0.0.0')):
    try:
        s = socket.socket(family, socket.SOCK_STREAM); s.settimeout(0.3); s.connect((address, {port})); print('ESCAPED')
    except OSError: pass
print('tried')"),
    python("udp_to_the_machine", "
import socket
try:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', {port})); print('ESCAPED')
except OSError: pass
print('tried')"),
    python("internet", "
import socket, urllib.request
for address in (('1.1.1.1', 53), ('8.8.8.8', 443), ('169.254.169.254', 80)):
    try: socket.create_connection(address, timeout=0.2); print('ESCAPED')
    except OSError: pass
try: socket.getaddrinfo('example.com', 80); print('ESCAPED')
except OSError: pass
try: urllib.request.urlopen('http://example.com', timeout=0.2); print('ESCAPED')
except OSError: pass
print('tried')"),
    python("other_sockets", "
import socket
for family in (socket.AF_PACKET, socket.AF_NETLINK, getattr(socket, 'AF_VSOCK', 40), getattr(socket, 'AF_ALG', 38), getattr(socket, 'AF_BLUETOOTH', 31), 44):
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        try: socket.socket(family, kind, 0); print('ESCAPED', family)
        except OSError: pass
try: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('ESCAPED')
except OSError: pass
print('tried')"),
    python("socket_files", "
import socket
for address in ('{home}/socket', '/run/docker.sock', '/var/run/docker.sock', '/run/systemd/private', '/run/dbus/system_bus_socket', '\\0/tmp/.X11-unix/X0'):
    try:
        s = socket.socket(socket.AF_UNIX); s.connect(address); print('ESCAPED', address)
    except OSError: pass
print('tried')"),
    python("listen", "
import socket
for family in (socket.AF_INET, socket.AF_INET6):
    try: s = socket.socket(family); s.bind(('', 0)); s.listen(); print('ESCAPED')
    except OSError: pass
print('tried')"),
    node("node_network", "
const net = require('net'), dgram = require('dgram');
const s = net.connect({port}, '127.0.0.1', () => console.log('ESCAPED'));
s.on('error', () => {});
try { const d = dgram.createSocket('udp4'); d.on('error', () => {}); d.send('x', {port}, '127.0.0.1', e => { if (!e) console.log('ESCAPED'); }); } catch (e) {}
fetch('http://127.0.0.1:{port}/').then(() => console.log('ESCAPED'), () => {});
setTimeout(() => { console.log('tried'); process.exit(0); }, 200);"),
    node("node_files_and_processes", "
const fs = require('fs'), cp = require('child_process');
for (const act of [() => fs.readFileSync('{home}/canary'), () => fs.writeFileSync('{home}/canary', 'x'), () => fs.rmSync('{home}', { recursive: true }),
                   () => process.kill({bystander}, 'SIGKILL'), () => process.kill({parent}, 'SIGKILL'), () => process.setuid(0)]) {
  try { act(); console.log('ESCAPED', String(act)); } catch (e) {}
}
const out = cp.spawnSync('cat', ['{home}/canary']);
if (String(out.stdout)) console.log('ESCAPED');
console.log('tried');"),
    // Rights.
    python("become_root", "
import ctypes, os
for act in (lambda: os.setuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try: act()
    except OSError: continue
    print('ESCAPED')
if os.geteuid() == 0: print('ESCAPED root')
status = dict(l.split(':', 1) for l in open('/proc/self/status')) if os.access('/proc/self/status', os.R_OK) and not os.path.exists('/proc/{parent}') else {}
for name in ('CapPrm', 'CapEff', 'CapInh', 'CapAmb'):
    if int(status.get(name, '0'), 16): print('ESCAPED', name)
print('tried')"),
    shell("programs_of_root", "
id=$(id -u)
for p in su sudo passwd mount umount ping newgrp chsh pkexec; do
  command -v $p >/dev/null && timeout 0.2 $p -c id </dev/null 2>/dev/null | grep -q uid=0 && echo ESCAPED $p
done
cp /usr/bin/id ./id && chmod 4755 ./id && [ \"$(./id -u)\" != $id ] && echo ESCAPED
echo tried"),
    python("new_namespaces", "
import ctypes
c = ctypes.CDLL(None, use_errno=True)
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x8000000, 0x4000000, 0x2000000, 0x80):
    if c.unshare(flag) == 0: print('ESCAPED unshare', hex(flag))
    stack = ctypes.create_string_buffer(65536)
    run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0)
    if c.clone(run, ctypes.c_void_p(ctypes.addressof(stack) + 65536), flag | 17, None) > 0: print('ESCAPED clone', hex(flag))
print('tried')"),
    python("mounts", "
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
os.mkdir('m')
if c.mount(b'none', b'm', b'tmpfs', 0, None) == 0: print('ESCAPED')
if c.mount(b'/', b'm', None, 4096, None) == 0: print('ESCAPED')
if c.mount(None, b'/', None, 32 | 4096, None) == 0: print('ESCAPED remount')
if c.umount2(b'/proc', 2) == 0 or c.umount2(b'/tmp', 2) == 0: print('ESCAPED umount')
if c.pivot_root(b'.', b'.') == 0 if hasattr(c, 'pivot_root') else False: print('ESCAPED')
print('tried')"),
    python("rare_system_calls", "
import ctypes, platform
c = ctypes.CDLL(None, use_errno=True)
calls = {
    'x86_64': dict(add_key=248, keyctl=250, bpf=321, perf_event_open=298, userfaultfd=323, io_uring_setup=425, kexec_load=246, init_module=175,
                   swapon=167, reboot=169, settimeofday=164, setns=308, open_by_handle_at=304, name_to_handle_at=303, fsopen=430, open_tree=428,
                   move_mount=429, clone3=435, pidfd_getfd=438, process_madvise=440, personality=135, syslog=103, quotactl=179, acct=163,
                   sethostname=170, iopl=172, modify_ldt=154, memfd_create=319, memfd_secret=447, shmget=29, msgget=68, semget=64, mq_open=240,
                   kcmp=312, seccomp=317, landlock_create_ruleset=444, fanotify_init=300, inotify_init=253, lookup_dcookie=212, vhangup=153),
    'aarch64': dict(add_key=217, keyctl=219, bpf=280, perf_event_open=241, userfaultfd=282, io_uring_setup=425, kexec_load=104, init_module=105,
                    swapon=224, reboot=142, settimeofday=170, setns=268, fsopen=430, open_tree=428, clone3=435, pidfd_getfd=438, memfd_create=279,
                    shmget=194, msgget=186, semget=190, mq_open=180),
}.get(platform.machine(), {})
for name, number in calls.items():
    ctypes.set_errno(0)
    result = c.syscall(number, 0, 0, 0, 0, 0, 0)
    if result >= 0 or ctypes.get_errno() not in (1, 38): print('ESCAPED', name, result, ctypes.get_errno())
print('tried')"),
    python("foreign_calling_conventions", "
import ctypes, platform
c = ctypes.CDLL(None, use_errno=True)
if platform.machine() == 'x86_64':
    for number in (41, 101, 165, 57, 0):  # x32: socket, ptrace, mount, fork, read
        if c.syscall(0x40000000 | number, 2, 1, 0) >= 0: print('ESCAPED', number)
print('tried')"),
    Case {
        name: "system_calls_of_32_bits",
        language: Language::Python,
        // getpid through `int 0x80`, which a filter for 64 bits doesn't know.
        source: "
import ctypes, mmap, platform
if platform.machine() == 'x86_64':
    page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
    page.write(bytes.fromhex('b814000000cd80c3'))
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    if call() > 0: print('ESCAPED')
print('tried')",
        contained: Contained::Either,
    },
    python("type_into_the_terminal", "
import fcntl
for fd in (0, 1, 2):
    try: fcntl.ioctl(fd, 0x5412, b'x'); print('ESCAPED')
    except OSError: pass
try: open('/dev/tty', 'w').write('x'); print('ESCAPED')
except OSError: pass
print('tried')"),
    python("undo_the_locks", "
import ctypes
c = ctypes.CDLL(None, use_errno=True)
for option, value in ((38, 0), (22, 0), (4, 1), (36, 1), (8, 1), (24, 0), (0x59616d61, -1), (28, 0)):
    if c.prctl(option, value, 0, 0, 0) == 0: print('ESCAPED', option)
print('tried')"),
    // Through the compiler.
    Case {
        name: "include_at_compile_time",
        language: Language::Rust,
        source: "fn main() { println!(\"{}{}\", concat!(\"ESC\", \"APED\"), include_str!(\"{home}/canary\")); }",
        contained: Contained::Ended(Status::NotCompiled),
    },
    Case {
        name: "rust_network_and_files",
        language: Language::Rust,
        source: "
fn main() {
    if std::net::TcpStream::connect((\"127.0.0.1\", {port})).is_ok() { println!(\"ESCAPED\"); }
    if std::net::UdpSocket::bind(\"127.0.0.1:0\").is_ok() { println!(\"ESCAPED\"); }
    if std::fs::write(\"{home}/canary\", \"x\").is_ok() { println!(\"ESCAPED\"); }
    if std::fs::read(\"{home}/canary\").is_ok() { println!(\"ESCAPED\"); }
    println!(\"tried\");
}",
        contained: Contained::Refused,
    },
];
