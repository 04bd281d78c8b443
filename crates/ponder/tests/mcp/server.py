"""An MCP server for the tests, without any SDK: JSON-RPC, a message a line (protocol of 2025-06-18)."""

import json
import os
import sys
import time

TOOLS = [
    {
        "name": "add",
        "description": "Adds two numbers.",
        "inputSchema": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"],
        },
    },
    {"name": "get env", "description": "", "inputSchema": {"type": "object"}},
    {"name": "fail", "inputSchema": {"type": "object"}},
    {"name": "sleep", "inputSchema": {"type": "object"}},
    {"name": "die", "inputSchema": {"type": "object"}},
]


def call(name, arguments):
    with open(sys.argv[1] + ".calls", "a") as calls:
        print(name, file=calls)
    if name == "add":
        return [{"type": "text", "text": str(arguments["a"] + arguments["b"])}], False
    if name == "get env":
        return [{"type": "text", "text": " ".join(sorted(os.environ))}], False
    if name == "fail":
        return [{"type": "text", "text": "no such luck"}], True
    if name == "sleep":
        time.sleep(60)
    print("out of order", file=sys.stderr, flush=True)
    sys.exit(3)


def answer(method, params):
    if method == "initialize":
        info = {"name": "test", "version": "1"}
        version = params["protocolVersion"]
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        # In two pages.
        page = int(params.get("cursor") or 0)
        result = {"tools": TOOLS[page * 3 : page * 3 + 3]}
        return {**result, "nextCursor": "1"} if page == 0 else result
    if method == "tools/call":
        content, failed = call(params["name"], params.get("arguments") or {})
        return {"content": content, "isError": failed}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        result = answer(message["method"], message.get("params") or {})
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
with open(sys.argv[1], "w") as end:
    end.write("ended")
