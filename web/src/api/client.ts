import { SseParser } from './sse'
import type { ChatRequest, Chunk, ErrorBody } from './types'

/**
 * What went wrong: `network`: nobody answers; `cut`: the stream ended before the answer did;
 * `unauthorized`: a key is wanted; `server`: the server says so itself.
 */
export type Fault = 'network' | 'cut' | 'unauthorized' | 'server'

export class ApiError extends Error {
  constructor(
    readonly fault: Fault,
    message: string,
    readonly status?: number,
    readonly param?: string,
  ) {
    super(message)
    this.name = 'ApiError'
  }
}

export const isAbort = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'AbortError'

/** Paths are relative to the page, so that it works behind a prefix. */
const url = (path: string): string => new URL(path, document.baseURI).href

async function call(path: string, key: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers)
  if (key) headers.set('Authorization', `Bearer ${key}`)
  let response: Response
  try {
    response = await fetch(url(path), { ...init, headers })
  } catch (error) {
    if (isAbort(error)) throw error
    throw new ApiError('network', String(error))
  }
  if (response.ok) return response
  const text = await response.text().catch(() => '')
  throw fault(errorBody(text), response.status, `${response.status} ${response.statusText}`.trim())
}

function fault(body: ErrorBody | undefined, status: number | undefined, otherwise: string): ApiError {
  const message = body?.message || otherwise
  // A proxy that cannot reach the server answers in its place.
  const kind = status === 401 ? 'unauthorized' : status && status >= 502 && !body ? 'network' : 'server'
  return new ApiError(kind, message, status, body?.param ?? undefined)
}

function errorBody(text: string): ErrorBody | undefined {
  try {
    const body: unknown = JSON.parse(text)
    const error = (body as { error?: ErrorBody | string } | null)?.error
    return typeof error === 'string' ? { message: error } : error
  } catch {
    return undefined
  }
}

export async function listModels(key: string, signal?: AbortSignal): Promise<string[]> {
  const response = await call('v1/models', key, { signal: signal ?? null })
  const body = (await response.json().catch(() => ({}))) as { data?: { id?: unknown }[] }
  return (body.data ?? []).map((model) => model.id).filter((id) => typeof id === 'string')
}

/** The chunks of a streamed answer, as they come. */
export async function* streamChat(
  request: ChatRequest,
  key: string,
  signal: AbortSignal,
): AsyncGenerator<Chunk, void> {
  const response = await call('v1/chat/completions', key, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream' },
    body: JSON.stringify(request),
    signal,
  })
  if (!response.body) throw new ApiError('cut', 'empty body')
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  const parser = new SseParser()
  let finished = false
  try {
    for (;;) {
      let piece: ReadableStreamReadResult<string>
      try {
        piece = await reader.read()
      } catch (error) {
        if (signal.aborted) throw new DOMException('stopped', 'AbortError')
        throw new ApiError('cut', String(error))
      }
      const events = piece.done ? parser.end() : parser.push(piece.value)
      for (const { data } of events) {
        if (data.trim() === '[DONE]') return
        const chunk = parseChunk(data)
        if (chunk.error) throw fault(chunk.error, undefined, 'error')
        finished ||= chunk.choices?.some((choice) => choice.finish_reason) ?? false
        yield chunk
      }
      if (piece.done) break
    }
  } finally {
    reader.cancel().catch(() => {})
  }
  if (!finished) throw new ApiError('cut', 'the stream ended early')
}

function parseChunk(data: string): Chunk {
  try {
    const chunk: unknown = JSON.parse(data)
    if (chunk && typeof chunk === 'object') return chunk as Chunk
  } catch {
    // fall through
  }
  throw new ApiError('server', `not JSON: ${data.slice(0, 200)}`)
}
