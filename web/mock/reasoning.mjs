// Plays what `reasoning: {strategy, …}` does: thoughts as events, the answer, its receipt.

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** What the thoughts come to, in turn. */
const ANSWERS = ['36', '35', '36', '42', '\\frac{72}{2}', '36', '36', '36']
const SAME = (answer) => (answer === '\\frac{72}{2}' ? '36' : answer)

const STARTS = [
  `I write the first six odd numbers down: 1, 3, 5, 7, 9, 11.\n\nAdding them one by one: $1 + 3 = 4$, $4 + 5 = 9$, $9 + 7 = 16$, $16 + 9 = 25$.`,
  `The sum of the first $n$ odd numbers is $n^2$, which a square of dots shows: each odd number is a corner that makes it one larger.\n\nHere $n = 6$.`,
  `Pair them from both ends: $1 + 11 = 12$, $3 + 9 = 12$, $5 + 7 = 12$.\n\nThat is three pairs of twelve.`,
  `By the formula for arithmetic series, the sum is $\\frac{n}{2}(a_1 + a_n)$ with $a_1 = 1$ and $a_n = 2n - 1$.\n\nFor six terms $a_6 = 11$.`,
]
const GOING_ON = `Let me check that with smaller cases. For two numbers the sum is $1 + 3 = 4 = 2^2$; for three it is $9 = 3^2$.\n\nThe pattern holds: adding $2n + 1$ to $n^2$ gives $(n + 1)^2$.`
const LOOP = `Wait, let me check that again. Wait, let me check that again. Wait, let me check that again.`

const STEPS = {
  1: { measure: 'settled', note: 'three times 36, at 0.97' },
  2: { measure: 'loop', note: 'a sentence three times over; cut out, and hotter from there' },
  5: { measure: 'wait', note: 'too short: “Wait,”' },
}
const ENDS = { 1: 'settled', 3: 'budget', 6: 'length' }

function script(number, last) {
  const lines = [`<think>\n${STARTS[number % STARTS.length]}\n\n`]
  if (number === 2) lines.push(LOOP)
  lines.push(`${GOING_ON}\n\n`, number % 3 === 1 ? `${GOING_ON}\n\n` : '')
  return { lines, content: `</think>\n\nAdding up:\n\n$$1 + 3 + 5 + 7 + 9 + 11 = \\boxed{${last}}$$` }
}

export async function play({ ask, send, isOpen, delay, tokens, question }) {
  const { strategy } = ask.reasoning
  const started = performance.now()
  const deltas = (delta, finish = null) => send({ choices: [{ index: 0, delta, finish_reason: finish, logprobs: null }] })
  const event = (event) => deltas({ reasoning_details: { event } })
  const many = { vote: 8, auto: 16, search: 3, program: 1 }[strategy]
  const n = many === undefined ? (strategy === 'revise' ? 3 : 1) : (ask.reasoning.n ?? many)
  const width = many === undefined ? 1 : Math.min(4, n)
  const thoughts = []
  const clusters = []
  let begun = 0
  let enough = false

  const over = (thought, answer, end) => {
    Object.assign(thought, { answer, end, live: false, seconds: (performance.now() - thought.began) / 1000 })
    event({ over: { thought: thought.number, answer, end } })
    if (many === undefined || answer === null || enough) return
    const cluster = clusters.find((each) => SAME(each.answer) === SAME(answer))
    if (cluster) {
      cluster.weight += 1
      cluster.thoughts.push(thought.number)
    } else clusters.push({ answer, weight: 1, thoughts: [thought.number] })
    clusters.sort((a, b) => b.weight - a.weight)
    const votes = clusters.reduce((sum, { weight }) => sum + weight, 0)
    const lead = clusters[0].weight - (clusters[1]?.weight ?? 0)
    const sure = votes < 2 ? 0.4 : Math.min(1, 0.5 + 0.05 * votes + 0.06 * lead)
    event({ vote: { clusters, sure } })
    enough = sure >= 0.97
  }
  const begin = () => {
    const number = begun++
    const about = strategy === 'revise' ? ['draft', 'doubt', 'revision'][number] : ''
    const { lines, content } = script(number, ANSWERS[number % ANSWERS.length])
    const queue = [...lines.flatMap((line) => tokens(line)), ...tokens(content)]
    thoughts.push({ number, about, queue, at: 0, text: '', live: true, began: performance.now(), steps: [], loops: number === 2, cut: 0 })
    event({ begun: { thought: number, about } })
  }

  deltas({ role: 'assistant', content: null })
  await sleep(delay * 5)
  for (let round = 0; isOpen(); round++) {
    while (!enough && begun < n && thoughts.filter(({ live }) => live).length < width) begin()
    const at = thoughts.filter(({ live }) => live)
    if (!at.length) break
    for (const thought of at) {
      // Not all are equally fast.
      if ((round + thought.number) % (3 + (thought.number % 3)) === 0) continue
      if (enough) {
        over(thought, null, 'unwanted')
        continue
      }
      const next = thought.queue[thought.at++]
      if (next === undefined) {
        over(thought, ANSWERS[thought.number % ANSWERS.length], ENDS[thought.number] ?? 'ended')
        continue
      }
      thought.text += next
      event({ text: { thought: thought.number, text: next } })
      const step = STEPS[thought.number]
      if (thought.loops && thought.text.endsWith(LOOP)) {
        thought.loops = false
        thought.cut = tokens(LOOP).length
        thought.text = thought.text.slice(0, -LOOP.length)
        event({ rewound: { thought: thought.number, text: thought.text } })
      } else if (!step || step.measure === 'loop' || thought.steps.length || thought.at < 60) continue
      if (step) {
        thought.steps.push({ at: thought.at, ...step })
        event({ step: { thought: thought.number, step: thought.steps[0] } })
      }
      if (/\berror\b/.test(question) && thought.at > 70) {
        send({ error: { message: 'the model ran out of memory', type: 'server_error', code: null, param: null } })
        return
      }
    }
    if (round === 12 && strategy === 'auto') event({ note: '2 of 3 agree: up to 5 more thoughts' })
    await sleep(delay)
  }
  if (!isOpen()) return

  const listed = thoughts.map(({ number, text, answer, end, steps, seconds, cut, at }) => {
    const [reasoning, content = ''] = text.replace('<think>', '').split('</think>')
    const answered = tokens(content).length
    return {
      number,
      seed: number,
      reasoning: reasoning.trim(),
      content: content.trim(),
      answer,
      end,
      tokens: { prompt: 42, thinking: at - answered - cut, answer: answered, put: 0, discarded: cut + (number % 2 ? 12 : 0) },
      steps,
      seconds,
    }
  })
  const leader = clusters[0]
  const chosen = listed.find(({ number }) => number === (leader ? leader.thoughts[0] : listed.length - 1))
  const sum = (of) => listed.reduce((sum, { tokens }) => sum + tokens[of], 0)
  const votes = clusters.reduce((sum, { weight }) => sum + weight, 0)
  const drawn = sum('thinking') + sum('answer') + sum('discarded')
  const receipt = {
    strategy,
    answer: chosen.answer,
    content: chosen.content,
    reasoning: chosen.reasoning,
    chosen: chosen.number,
    why: leader ? `${leader.thoughts.length} of ${votes} votes` : 'it is the only one',
    confidence: leader ? leader.weight / votes : null,
    usage: {
      prompt_tokens: 42,
      reasoning_tokens: sum('thinking'),
      answer_tokens: sum('answer'),
      discarded_tokens: sum('discarded'),
      drawn_tokens: drawn,
      thoughts: listed.length,
      forward_passes: Math.round(drawn / 3),
      flops: drawn * 9.9e8,
      seconds: (performance.now() - started) / 1000,
    },
    vote: clusters,
    thoughts: listed,
    cancelled: false,
  }
  deltas({ reasoning_content: receipt.reasoning, reasoning: receipt.reasoning })
  deltas({ content: receipt.content })
  deltas({ reasoning_details: { receipt } }, 'stop')
  if (ask.stream_options?.include_usage) {
    const { prompt_tokens, reasoning_tokens } = receipt.usage
    const details = { reasoning_tokens, answer_tokens: sum('answer'), discarded_tokens: sum('discarded') }
    send({
      choices: [],
      usage: { prompt_tokens, completion_tokens: drawn, total_tokens: prompt_tokens + drawn, completion_tokens_details: details },
    })
  }
}
