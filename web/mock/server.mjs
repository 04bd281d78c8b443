// A stand-in for `ponder serve`: the same API with canned answers, and the built page at `/`.
//
//   node mock/server.mjs [--port 8090] [--key SECRET] [--delay MS]
//
// What an answer is about depends on words of the question: "code", "table", "error", "refuse",
// "cut", "long", "tool"; anything else gets thinking and a formula. With `reasoning: {strategy}` it has
// thoughts, as `reasoning.mjs` plays them.
import { createReadStream, existsSync, realpathSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { play } from './reasoning.mjs'

const DIST = fileURLToPath(new URL('../dist', import.meta.url))
const MODEL = 'mock-reasoner-1b'
const CSP =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
  "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const THINKING = `The question asks for the sum of the first $n$ odd numbers. Let me write a few of them down: $1$, $1+3=4$, $1+3+5=9$.

That looks like squares. Wait, let me check the next one: $9 + 7 = 16 = 4^2$. Yes.

A proof by induction: if $\\sum_{k=1}^{n}(2k-1)=n^2$, then adding $2n+1$ gives $n^2+2n+1=(n+1)^2$. So it holds for all $n$. For $n = 6$ the sum is $36$.
`

const SPEECH = {
  math: (seed) => `The sum of the first **$n$ odd numbers** is a square:

$$\\sum_{k=1}^{n} (2k-1) = n^2$$

- Adding the next odd number, \\(2n+1\\), turns \\(n^2\\) into \\((n+1)^2\\).
- With $|x_1| = 1$ as the start, induction does the rest.

For $n = 6$:

\\[ 1 + 3 + 5 + 7 + 9 + 11 = \\boxed{${seed % 4 === 3 ? 35 : 36}} \\]`,
  code: () => `Here is a function that does it:

\`\`\`python
def odd_sum(n: int) -> int:
    """Sum of the first n odd numbers."""
    return sum(2 * k - 1 for k in range(1, n + 1))

print(odd_sum(6))  # 36
\`\`\`

And the same in Rust:

\`\`\`rust
fn odd_sum(n: u64) -> u64 {
    (1..=n).map(|k| 2 * k - 1).sum()
}
\`\`\`

Inline code such as \`range(1, n + 1)\` stays inline.`,
  table: () => `| n | odd numbers | sum |
|---|:--|--:|
| 1 | 1 | 1 |
| 2 | 1, 3 | 4 |
| 3 | 1, 3, 5 | $|9|$ |

1. The first column counts.
2. The last one is $n^2$.

> A table is worth a thousand sums.

<script>alert(1)</script> and <img src=x onerror=alert(1)> are text, [this link](javascript:alert(1)) is none.`,
  long: () =>
    Array.from({ length: 60 }, (_, i) => `${i + 1}. Point ${i + 1} of a long list, with $x_{${i + 1}}$ in it.`).join('\n'),
}

/** Cuts text into pieces like tokens. */
const tokens = (text) => text.match(/\s*[\p{L}\p{M}]{1,6}|\s*\d|\s*[^\p{L}\p{M}\d\s]+|\s+/gu) ?? []

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

function random(seed) {
  let state = (seed * 2654435761) >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

function logprob(token, draw, top) {
  const p = draw() < 0.65 ? 0.9 + 0.1 * draw() : 0.08 + 0.8 * draw()
  const others = [' the', ' a', ' so', '\n', ' and'].filter((other) => other !== token)
  let rest = 1 - p
  const list = others.slice(0, Math.max(0, top - 1)).map((other) => {
    const share = rest * (0.4 + 0.3 * draw())
    rest -= share
    return { token: other, logprob: Math.log(Math.max(share, 1e-9)), bytes: null }
  })
  const own = { token, logprob: Math.log(p), bytes: null }
  return { ...own, top_logprobs: [own, ...list].sort((a, b) => b.logprob - a.logprob) }
}

const json = (response, status, body) => {
  response.writeHead(status, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify(body))
}

const problem = (message, type, code = null, param = null) => ({ error: { message, type, code, param } })

async function body(request) {
  const parts = []
  for await (const part of request) parts.push(part)
  return JSON.parse(Buffer.concat(parts).toString('utf8'))
}

async function chat(request, response, options) {
  let ask
  try {
    ask = await body(request)
  } catch {
    return json(response, 400, problem('the body is not JSON', 'invalid_request_error'))
  }
  const question = String(ask.messages?.at(-1)?.content ?? '')
  if (/\brefuse\b/.test(question)) {
    return json(response, 400, problem('the prompt is longer than the context (40960 tokens)', 'invalid_request_error', 'context_length_exceeded', 'messages'))
  }
  const kind = ['code', 'table', 'long'].find((word) => new RegExp(`\\b${word}\\b`, 'i').test(question)) ?? 'math'
  if (ask.reasoning?.strategy === 'program') {
    return json(response, 400, problem('programs are not run here; start the server with --allow-programs', 'invalid_request_error', null, 'reasoning.strategy'))
  }
  const started = performance.now()
  const n = ask.n ?? 1
  const think = ask.chat_template_kwargs?.enable_thinking !== false
  const lanes = Array.from({ length: n }, (_, index) => {
    const seed = (ask.seed ?? 0) + index
    const draw = random(seed + 7)
    const thinking = think ? tokens(THINKING).slice(0, ask.thinking_budget ?? Infinity) : []
    const content = tokens(SPEECH[kind](seed))
    const room = ask.max_tokens ?? Infinity
    const all = [...thinking.map((text) => ['reasoning_content', text]), ...content.map((text) => ['content', text])]
    return { index, draw, queue: all.slice(0, room), cut: all.length > room, skip: index * 3, at: 0 }
  })
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  const frame = { id: 'chatcmpl-mock', object: 'chat.completion.chunk', created: 0, model: ask.model ?? MODEL }
  const send = (chunk) => response.write(`data: ${JSON.stringify({ ...frame, ...chunk })}\n\n`)
  let open = true
  response.on('close', () => (open = false))
  for (const { index } of lanes) send({ choices: [{ index, delta: { role: 'assistant', content: '' }, finish_reason: null }] })

  if (ask.reasoning?.strategy) {
    await play({ ask, send, isOpen: () => open, delay: options.delay, tokens, question })
    return response.end('data: [DONE]\n\n')
  }
  const prompt = tokens(JSON.stringify(ask.messages)).length
  const prefill = options.delay * 5
  const timings = (lane) => {
    const ms = performance.now() - started - prefill
    return {
      prompt_n: prompt - Math.floor(prompt / 2),
      prompt_ms: prefill,
      prompt_per_second: (prompt / Math.max(1, prefill)) * 1000,
      predicted_n: lane.queue.length,
      predicted_ms: ms,
      predicted_per_second: (lane.queue.length / ms) * 1000,
      cache_n: Math.floor(prompt / 2),
    }
  }

  let reasoning = 0
  let total = 0
  let sent = 0
  await sleep(prefill)
  while (open && lanes.some((lane) => !lane.done)) {
    for (const lane of lanes) {
      if (lane.done || lane.skip-- > 0) continue
      const next = lane.queue[lane.at++]
      if (!next) {
        lane.done = true
        if (/\btool\b/.test(question)) {
          const call = { name: 'calculator', arguments: '{"expression":"1+3+5"}' }
          send({ choices: [{ index: lane.index, delta: { tool_calls: [{ index: 0, id: 'call_0', type: 'function', function: call }] }, finish_reason: null }] })
        }
        const choice = { index: lane.index, delta: {}, finish_reason: lane.cut ? 'length' : 'stop' }
        send({ choices: [choice], timings: timings(lane) })
        continue
      }
      const [field, text] = next
      total++
      if (field === 'reasoning_content') reasoning++
      send({ choices: [{ index: lane.index, delta: { [field]: text }, finish_reason: null, logprobs: null }] })
      if (ask.logprobs) {
        // As the server does: after the text, in a chunk of its own.
        const content = [logprob(text, lane.draw, ask.top_logprobs ?? 0)]
        send({ choices: [{ index: lane.index, delta: {}, finish_reason: null, logprobs: { content } }] })
      }
      if (++sent > 40 && /\berror\b/.test(question)) {
        send(problem('the model ran out of memory', 'server_error', 'out_of_memory'))
        return response.end()
      }
      if (sent > 40 && /\bcut\b/.test(question)) return response.destroy()
    }
    await sleep(options.delay)
  }
  if (ask.stream_options?.include_usage) {
    send({
      choices: [],
      usage: {
        prompt_tokens: prompt,
        completion_tokens: total,
        total_tokens: prompt + total,
        completion_tokens_details: { reasoning_tokens: reasoning },
      },
      timings: timings(lanes[0]),
    })
  }
  response.end('data: [DONE]\n\n')
}

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
}

function page(path, response) {
  const file = join(DIST, normalize(path === '/' ? '/index.html' : path))
  if (!file.startsWith(DIST) || !existsSync(file) || !extname(file)) return false
  response.writeHead(200, {
    'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
    'Content-Security-Policy': CSP,
    'X-Content-Type-Options': 'nosniff',
  })
  createReadStream(file).pipe(response)
  return true
}

/** Answers an API request; says whether it was one. */
export async function handle(request, response, options = { delay: 20, key: '' }) {
  const path = new URL(request.url, 'http://localhost').pathname
  if (path === '/health') return json(response, 200, { status: 'ok' }), true
  if (!path.startsWith('/v1/')) return false
  if (options.key && request.headers.authorization !== `Bearer ${options.key}`) {
    json(response, 401, problem('this server wants an API key', 'authentication_error', 'invalid_api_key'))
  } else if (path === '/v1/models') {
    json(response, 200, { object: 'list', data: [{ id: MODEL, object: 'model' }, { id: 'mock-plain-0.5b', object: 'model' }] })
  } else if (path === '/v1/chat/completions' && request.method === 'POST') {
    await chat(request, response, options)
  } else {
    json(response, 404, problem(`no such path: ${path}`, 'invalid_request_error'))
  }
  return true
}

/** The mock with the built page; resolves to the server and its address. */
export async function start({ port = 0, key = '', delay = 20 } = {}) {
  const server = createServer((request, response) => {
    handle(request, response, { key, delay })
      .then((done) => {
        if (!done && !page(new URL(request.url, 'http://localhost').pathname, response)) json(response, 404, problem('not found', 'invalid_request_error'))
      })
      .catch((error) => {
        console.error(error)
        response.destroy()
      })
  })
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
  return { server, url: `http://127.0.0.1:${server.address().port}` }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const option = (name, otherwise) => {
    const at = process.argv.indexOf(`--${name}`)
    return at < 0 ? otherwise : process.argv[at + 1]
  }
  const { url } = await start({
    port: Number(option('port', 8090)),
    key: option('key', ''),
    delay: Number(option('delay', 20)),
  })
  console.log(`mock of ponder serve on ${url}`)
}
