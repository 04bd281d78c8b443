"""Building the two programs that the scripts beside this file compare: `ponder` and llama.cpp.

llama.cpp comes as the source package of `llama-cpp-python`, which carries all of it, so a machine that can
install Python packages can build the peer. Everything is kept outside the repository, in
`$PONDER_BENCH_CACHE` (default `~/.cache/ponder-bench`), and made once.
"""

import json
import os
import platform
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

DEFAULT_MODELS = [Path("qwen2.5-coder-0.5b"), Path("smollm2-135m")]
REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE, VERSION = "llama-cpp-python", "0.3.36"

AVX2 = ["AVX", "AVX2", "FMA", "F16C", "BMI2"]
AVX512 = AVX2 + ["AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16"]
# What /proc/cpuinfo calls the instructions that the AVX-512 switches let the compiler use.
AVX512_FLAGS = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi", "avx512_vnni", "avx512_bf16"}


def fail(message: str):
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def run(command: list, **options):
    command = [str(part) for part in command]
    print("+ " + " ".join(command), file=sys.stderr)
    try:
        return subprocess.run(command, check=True, **options)
    except FileNotFoundError:
        fail(f"{command[0]} is not installed")
    except subprocess.CalledProcessError as error:
        fail(f"{command[0]} failed with exit code {error.returncode}")


def cache() -> Path:
    default = Path.home() / ".cache" / "ponder-bench"
    folder = Path(os.environ.get("PONDER_BENCH_CACHE") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tools() -> Path:
    """The `bin` folder of a virtual environment with cmake, ninja and numpy."""
    folder = cache() / "tools"
    if not (folder / "bin" / "ninja").exists():
        venv.create(folder, with_pip=True, clear=True)
        run([folder / "bin" / "pip", "install", "--quiet", "numpy", "cmake", "ninja"], stdout=sys.stderr)
    return folder / "bin"


def cpu() -> tuple[str, set[str]]:
    """The processor's name and its feature flags."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            if key == "model name":
                name = value
            if key == "flags":
                flags = set(value.split())
    except OSError:
        pass
    return name, flags


def best_simd() -> str:
    """The widest build that this processor runs. AMX is left out: llama.cpp's dies on some machines."""
    return "avx512" if AVX512_FLAGS <= cpu()[1] else "avx2"


def source() -> Path:
    """llama.cpp's source tree, fetched with pip."""
    folder = cache() / f"llama_cpp_python-{VERSION}"
    tree = folder / "vendor" / "llama.cpp"
    if not tree.exists():
        archive = cache() / f"llama_cpp_python-{VERSION}.tar.gz"
        if not archive.exists():
            # Only this package from source: ":all:" would build cmake from source to read its metadata.
            pip = ["pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]
            run([sys.executable, "-m", *pip, "--dest", cache(), f"{PACKAGE}=={VERSION}"], stdout=sys.stderr)
        with tarfile.open(archive) as packed:
            packed.extractall(cache(), filter="data")
    return tree


def build_llama_cpp(targets: list[str], simd: str | None = None) -> Path:
    """Build `targets` (paths inside the build folder) for `simd` ("avx512", "avx2"); returns that folder."""
    simd = simd or best_simd()
    folder = cache() / f"llama.cpp-{VERSION}-{simd}"
    if all((folder / target).exists() for target in targets):
        return folder
    switches = {"avx2": AVX2, "avx512": AVX512}[simd]
    bin = tools()
    configure = [bin / "cmake", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={bin / 'ninja'}"]
    configure += ["-S", source(), "-B", folder, "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=OFF"]
    configure += [f"-DGGML_{switch}=ON" for switch in switches]
    unused = ["LLAMA_BUILD_TESTS", "LLAMA_BUILD_UI", "LLAMA_USE_PREBUILT_UI", "LLAMA_OPENSSL"]
    configure += [f"-D{option}=OFF" for option in unused]
    run(configure, stdout=sys.stderr)
    run([bin / "ninja", "-C", folder, *targets], stdout=sys.stderr)
    return folder


def build_ponder() -> Path:
    """Build `ponder` in release; returns the binary."""
    command = ["cargo", "build", "--release", "--package", "ponder", "--message-format=json-render-diagnostics"]
    messages = run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True).stdout
    for line in messages.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "ponder":
            return Path(message["executable"])
    fail("cargo built no binary called ponder")


def model_file(name: Path, ponder: Path) -> Path:
    """The file behind `-m`: a path as it is; anything else is a name that `ponder` knows, and pulls."""
    if name.exists():
        return name
    run([ponder, "pull", name], stdout=sys.stderr)
    return Path(json.loads(run([ponder, "inspect", name, "--json"], stdout=subprocess.PIPE, text=True).stdout)["path"])


def machine() -> str:
    """One line about this machine, with the load that disturbs a measurement."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cpu()[0]}, {cores} cores, load average {os.getloadavg()[0]:.2f}"
