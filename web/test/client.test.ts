import { afterEach, describe, expect, it, vi } from 'vitest'
import { ApiError, listModels, streamChat } from '../src/api/client'
import type { ChatRequest, Chunk } from '../src/api/types'

const request = { messages: [], stream: true, stream_options: { include_usage: true } } satisfies ChatRequest

const answer = (body: string, init: ResponseInit = {}) => vi.stubGlobal('fetch', vi.fn(async () => new Response(body, init)))

async function collect(): Promise<Chunk[]> {
  const chunks: Chunk[] = []
  for await (const chunk of streamChat(request, 'k', new AbortController().signal)) chunks.push(chunk)
  return chunks
}

const fault = async (promise: Promise<unknown>): Promise<ApiError> => {
  const error = await promise.then(
    () => null,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(ApiError)
  return error as ApiError
}

afterEach(() => vi.unstubAllGlobals())

describe('streamChat', () => {
  const done = '{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}'

  it('gives the chunks, and sends the key', async () => {
    answer(`data: ${done}\n\ndata: [DONE]\n\n`)
    expect(await collect()).toHaveLength(1)
    const [, init] = vi.mocked(fetch).mock.calls[0]!
    expect(new Headers(init!.headers).get('Authorization')).toBe('Bearer k')
  })

  it('does without [DONE] where the answer is complete', async () => {
    answer(`data: ${done}\n\n`)
    expect(await collect()).toHaveLength(1)
  })

  it('notices that the stream broke off', async () => {
    answer('data: {"choices":[{"delta":{"content":"x"}}]}\n\n')
    expect((await fault(collect())).fault).toBe('cut')
  })

  it('passes errors on: in the stream, as a status, from a proxy', async () => {
    const body = '{"error":{"message":"no memory","type":"server_error","code":null,"param":null}}'
    answer(`data: ${body}\n\n`)
    expect(await fault(collect())).toMatchObject({ fault: 'server', message: 'no memory' })
    answer(body, { status: 503 })
    expect(await fault(collect())).toMatchObject({ fault: 'server', message: 'no memory', status: 503 })
    answer(body, { status: 401 })
    expect((await fault(collect())).fault).toBe('unauthorized')
    answer('<html>Bad Gateway</html>', { status: 502 })
    expect((await fault(collect())).fault).toBe('network')
    answer('data: nonsense\n\n')
    expect((await fault(collect())).fault).toBe('server')
  })

  it('says so when nobody answers', async () => {
    vi.stubGlobal('fetch', vi.fn(async () => Promise.reject(new TypeError('Failed to fetch'))))
    expect((await fault(collect())).fault).toBe('network')
  })
})

it('lists models, whatever else stands there', async () => {
  answer('{"data":[{"id":"a"},{"id":5},{}]}')
  expect(await listModels('')).toEqual(['a'])
  answer('[]')
  expect(await listModels('')).toEqual([])
})
