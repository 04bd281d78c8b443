# Tests an answer that nobody has read, without letting it near the tests.
#
# The answer runs in a process of its own. This one holds the tests and the token that stands for
# their result, and talks with the answer's process about calls only: plain values go over as
# values, anything else stays there and is known here by a number. So an answer can't end the tests
# early, find the token, or return something that claims to equal everything.
import builtins, json, marshal, os, struct, sys, traceback

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))


class Unsupported(BaseException):
    """The tests pass something to the answer that can't be taken over."""


class Gone(BaseException):
    """The answer's process has ended."""


class Channel:
    def __init__(self, source, sink):
        self.source, self.sink = os.fdopen(source, "rb"), os.fdopen(sink, "wb")

    def send(self, message):
        data = marshal.dumps(message)
        try:
            self.sink.write(struct.pack("<Q", len(data)) + data)
            self.sink.flush()
        except BrokenPipeError:
            raise Gone from None

    def receive(self):
        head = self.source.read(8)
        if len(head) < 8:
            raise Gone
        (length,) = struct.unpack("<Q", head)
        data = self.source.read(length)
        if len(data) < length:
            raise Gone
        return marshal.loads(data)


def encode(x, other):
    """As values that `marshal` takes; `other` says what becomes of what isn't plain data."""
    kind = type(x)
    if kind in PLAIN:
        return x
    down = lambda items: [encode(item, other) for item in items]
    for tag, base in (("l", list), ("t", tuple), ("s", set), ("z", frozenset)):
        if isinstance(x, base):
            return (tag, down(x))
    if isinstance(x, dict):
        return ("d", [(encode(k, other), encode(v, other)) for k, v in x.items()])
    # What is derived from plain data equals it.
    for base in (bool, int, float, complex, str, bytes):
        if isinstance(x, base):
            return base.__new__(base, x)
    if isinstance(x, bytearray):
        return ("b", bytes(x))
    if isinstance(x, range):
        return ("r", [x.start, x.stop, x.step])
    if kind.__module__ in ("decimal", "_decimal", "fractions") and kind.__name__ in ("Decimal", "Fraction"):
        return ("n", [kind.__name__, str(x)])
    if kind.__module__ == "numpy" and hasattr(x, "item") and getattr(x, "ndim", 1) == 0:
        return encode(x.item(), other)
    if kind is type:
        if getattr(builtins, x.__name__, None) is x:
            return ("c", x.__name__)
    return other(x)


def decode(x, other):
    if type(x) is not tuple:
        return x
    tag, data = x
    if tag in "ltsz":
        return {"l": list, "t": tuple, "s": set, "z": frozenset}[tag](decode(item, other) for item in data)
    if tag == "d":
        return {decode(k, other): decode(v, other) for k, v in data}
    if tag == "b":
        return bytearray(data)
    if tag == "r":
        return range(*data)
    if tag == "n":
        import decimal, fractions
        return {"Decimal": decimal.Decimal, "Fraction": fractions.Fraction}[data[0]](data[1])
    if tag == "c":
        kind = getattr(builtins, data)
        return kind if isinstance(kind, type) else None
    return other(tag, data)


# The answer's process.

def serve(channel):
    import types
    kept, numbers = [], {}

    def keep(x):
        if id(x) not in numbers:
            numbers[id(x)] = len(kept)
            kept.append(x)
        return ("h", numbers[id(x)])

    def find(tag, data):
        if tag == "f":
            return types.FunctionType(marshal.loads(data), {"__builtins__": builtins})
        return kept[data]

    module = types.ModuleType("answer")
    source = channel.receive()
    sys.modules["answer"] = module
    try:
        exec(compile(source, "answer.py", "exec"), module.__dict__)
        names = [n for n, v in vars(module).items() if not n.startswith("__") and not isinstance(v, types.ModuleType)]
        channel.send(("ready", names))
    except BaseException as error:
        channel.send(("failed", describe(error)))
        return
    acts = {
        "global": lambda name: getattr(module, name),
        "call": lambda f, args, kwargs: f(*args, **kwargs),
        "get": getattr, "set": setattr, "item": lambda x, k: x[k], "len": len, "iter": iter, "next": next,
        "in": lambda x, y: y in x, "same": lambda x, y: x == y, "bool": bool, "str": str, "repr": repr,
    }
    while True:
        act, *args = channel.receive()
        args = [decode(a, find) for a in args]
        before = marshal.dumps(encode(args[1], keep)) if act == "call" else None
        try:
            reply = ["value", encode(acts[act](*args), keep)]
        except RecursionError as error:
            reply = ["error", "RecursionError", str(error)]
        except BaseException as error:
            names = [k.__name__ for k in type(error).__mro__]
            known = next(n for n in names if isinstance(getattr(builtins, n, None), type))
            reply = ["error", known, describe(error)]
        # Arguments changed in place are to be changed over there as well.
        after = encode(args[1], keep) if act == "call" else None
        reply.append(after if act == "call" and marshal.dumps(after) != before else None)
        channel.send(tuple(reply))


def describe(error):
    lines = traceback.format_exception_only(type(error), error)
    return lines[-1].strip()[:300]


# The tests' process.

class Remote:
    """What couldn't be taken over. It never equals plain data, and can't be reckoned with: it would
    be the answer's word that counts."""

    def __init__(self, peer, number):
        self.__dict__.update(_peer=peer, _number=number)

    def __call__(self, *args, **kwargs): return self._peer.call(self, args, kwargs)
    def __getattr__(self, name):
        if name.startswith("_"): raise AttributeError(name)
        return self._peer.ask("get", self, name)
    def __setattr__(self, name, value): self._peer.ask("set", self, name, value)
    def __getitem__(self, key): return self._peer.ask("item", self, key)
    def __len__(self): return self._peer.ask("len", self)
    def __iter__(self): return self._peer.ask("iter", self)
    def __next__(self): return self._peer.ask("next", self)
    def __contains__(self, item): return self._peer.ask("in", self, item)
    def __eq__(self, other): return isinstance(other, Remote) and self._peer.ask("same", self, other) is True
    def __hash__(self): return self._number
    def __bool__(self): return self._peer.ask("bool", self) is True
    def __str__(self): return str(self._peer.ask("str", self))
    def __repr__(self): return str(self._peer.ask("repr", self))


class Peer:
    def __init__(self, channel):
        self.channel = channel

    def pack(self, x):
        if isinstance(x, Remote):
            return ("h", x._number)
        code = getattr(x, "__code__", None)
        if code and not x.__closure__ and not x.__defaults__ and all(hasattr(builtins, n) for n in code.co_names):
            return ("f", marshal.dumps(code))
        raise Unsupported(type(x).__name__)

    def unpack(self, tag, data):
        return Remote(self, int(data))

    def ask(self, act, *args):
        self.channel.send((act, *(encode(a, self.pack) for a in args)))
        kind, *reply = self.channel.receive()
        changed = reply.pop()
        if changed is not None and act == "call":
            for old, new in zip(args[1], decode(changed, self.unpack)):
                if type(old) is list and type(new) is list: old[:] = new
                elif type(old) in (dict, set) and type(new) is type(old): old.clear(); old.update(new)
        if kind == "value":
            return decode(reply[0], self.unpack)
        name, text = reply
        known = getattr(builtins, name, None)
        # An assertion or an exit of the answer's own is no failed test of ours.
        if not (isinstance(known, type) and issubclass(known, Exception)) or known is AssertionError:
            known = RuntimeError
        try:
            error = known(text)
        except TypeError:
            error = RuntimeError(text)
        raise error

    def call(self, function, args, kwargs):
        return self.ask("call", function, args, kwargs)


def hide():
    """Keeps this process's memory and descriptors from others of the same user."""
    try:
        import ctypes
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
    except Exception:
        pass


def start_answer():
    there, here = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.close(there[0]); os.close(here[1])
        return Channel(here[0], there[1])
    try:
        # With the orders' file, which holds the token, out of reach.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0); os.dup2(null, 1)
        os.close(there[1]); os.close(here[0])
        serve(Channel(there[0], here[1]))
    except Gone:
        pass
    finally:
        os._exit(0)


def local(source):
    """The answer in this very process, for tests that can't be held apart from it."""
    space = {"__name__": "answer"}
    try:
        exec(compile(source, "answer.py", "exec"), space)
    except BaseException as error:
        return None, describe(error)
    return {n: v for n, v in space.items() if not n.startswith("__")}, None


def remote(source, channel):
    channel.send(source)
    kind, data = channel.receive()
    if kind != "ready":
        return None, str(data)
    peer = Peer(channel)
    names = {}
    for name in data:
        value = peer.ask("global", name)
        names[str(name)] = value
    return names, None


def where(error, file, text):
    """The last line of the tests that was being run."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file and f.lineno]
    source = text.splitlines()
    return source[lines[-1] - 1].strip()[:300] if lines and lines[-1] <= len(source) else ""


def run(orders, channel):
    total = max(1, len(orders["asserts"]))
    done = {"passed": 0, "total": total}
    try:
        test = compile(orders["test"], "test.py", "exec")
        head = compile(orders["prompt"], "prompt.py", "exec")
        space = {"__name__": "test"}
        exec(head, space)
        asserts = [compile(a, "assert.py", "exec") for a in orders["asserts"]]
    except BaseException as error:
        return {"task": describe(error)}
    try:
        names, failed = remote(orders["answer"], channel) if channel else local(orders["answer"])
    except Gone:
        names, failed = None, "the program ended while it was loaded"
    if failed:
        return {**done, "why": failed}
    entry = orders["entry"]
    if entry and entry not in names:
        return {**done, "why": f"`{entry}` is not defined"}
    # Of what both define, the task's own helpers count, and the answer's entry point.
    for name, value in names.items():
        if name == entry or name not in space:
            space[name] = value
    passed, why = 0, None
    try:
        exec(test, space)
        if entry:
            space["check"](space[entry])
            passed = 1
    except Unsupported as error:
        return {"unsupported": str(error)}
    except Gone:
        return {**done, "why": "the program ended during the tests: " + where(sys.exc_info()[1], "test.py", orders["test"])}
    except BaseException as error:
        return {**done, "why": f"{describe(error)}, in `{where(error, 'test.py', orders['test'])}`"}
    for code, text in zip(asserts, orders["asserts"]):
        try:
            exec(code, space)
            passed += 1
        except Unsupported as error:
            return {"unsupported": str(error)}
        except Gone:
            why = why or f"the program ended during `{text.strip()[:300]}`"
            break
        except BaseException as error:
            why = why or f"{describe(error)}, in `{text.strip()[:300]}`"
    return {"passed": passed, "total": total, "why": why}


def main():
    # First, so that the answer's process knows nothing of the orders.
    channel = start_answer() if len(sys.argv) == 1 else None
    hide()
    orders = json.load(sys.stdin)
    if not orders["apart"]:
        channel = None
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # The tests' own prints are not the result.
    result, sys.stdout = sys.stdout, sys.stderr
    token = orders.pop("token")
    said = json.dumps(run(orders, channel))
    result.write(f"\n{token} {said}\n")
    result.flush()
    os._exit(0)


main()
