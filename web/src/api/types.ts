/** The parts of the server's answers that this page reads. Every field may be missing. */

export interface ToolCallDelta {
  index?: number
  id?: string
  function?: { name?: string; arguments?: string }
}

export interface TokenLogprob {
  token: string
  logprob: number
  top_logprobs?: { token: string; logprob: number }[]
}

export interface ChunkChoice {
  index?: number
  delta?: {
    role?: string
    content?: string | null
    reasoning_content?: string | null
    tool_calls?: ToolCallDelta[]
    reasoning_details?: ReasoningDetails | null
  }
  logprobs?: { content?: TokenLogprob[] | null } | null
  finish_reason?: string | null
}

/** What comes of `reasoning: {strategy, …}`: what happens meanwhile, one event a chunk, and the receipt. */
export interface ReasoningDetails {
  event?: unknown
  receipt?: Receipt
}

/** Something that was done to a thought. */
export interface Step {
  /** After so many tokens. */
  at: number
  measure: string
  note: string
}

/** An answer, and the thoughts (by number) that give it. */
export interface Cluster {
  answer: string
  weight: number
  thoughts: number[]
}

export interface ReceiptThought {
  number?: number
  reasoning?: string
  content?: string
  answer?: string | null
  end?: string
  tokens?: { thinking?: number; answer?: number; discarded?: number }
  steps?: Step[]
  seconds?: number
}

export interface ReceiptUsage {
  prompt_tokens?: number
  reasoning_tokens?: number
  answer_tokens?: number
  discarded_tokens?: number
  drawn_tokens?: number
  thoughts?: number
  forward_passes?: number
  flops?: number
  seconds?: number
}

export interface Receipt {
  strategy?: string
  answer?: string | null
  chosen?: number | null
  why?: string
  confidence?: number | null
  usage?: ReceiptUsage
  vote?: Cluster[]
  thoughts?: ReceiptThought[]
}

export interface Usage {
  prompt_tokens?: number
  completion_tokens?: number
  total_tokens?: number
  completion_tokens_details?: { reasoning_tokens?: number } | null
}

export interface Timings {
  prompt_n?: number
  prompt_ms?: number
  prompt_per_second?: number
  predicted_n?: number
  predicted_ms?: number
  predicted_per_second?: number
  cache_n?: number
}

export interface ErrorBody {
  message?: string
  type?: string
  code?: string | number | null
  param?: string | null
}

export interface Chunk {
  model?: string
  choices?: ChunkChoice[]
  usage?: Usage | null
  timings?: Timings | null
  error?: ErrorBody
}

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant'
  content: string
}

/** The body of `POST /v1/chat/completions`. */
export interface ChatRequest {
  model?: string
  messages: ChatMessage[]
  stream: true
  stream_options: { include_usage: true }
  temperature?: number
  top_p?: number
  top_k?: number
  min_p?: number
  repetition_penalty?: number
  max_tokens?: number
  seed?: number
  thinking_budget?: number
  chat_template_kwargs?: { enable_thinking: boolean }
  reasoning?: {
    strategy: string
    n?: number
    max_tokens?: number
    deadline_ms?: number
    settle?: true
  }
  logprobs?: true
  top_logprobs?: number
}
