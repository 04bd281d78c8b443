import { describe, expect, it } from 'vitest'
import { SseParser } from '../src/api/sse'

const all = (...pieces: string[]) => {
  const parser = new SseParser()
  return [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()].map(({ data }) => data)
}

describe('SseParser', () => {
  it('takes events apart', () => {
    expect(all('data: a\n\ndata: b\n\n')).toEqual(['a', 'b'])
  })

  it('gives the same however the text is cut', () => {
    const text = '\uFEFF: hello\r\ndata: {"a":\r\ndata:1}\r\n\r\nevent: x\rdata: two\r\rid: 3\ndata:\n\ndata: last\n\n'
    const whole = all(text)
    expect(whole).toEqual(['{"a":\n1}', 'two', '', 'last'])
    for (let cut = 0; cut <= text.length; cut++) {
      expect(all(text.slice(0, cut), text.slice(cut)), `cut at ${cut}`).toEqual(whole)
    }
    expect(all(...text)).toEqual(whole)
  })

  it('passes over comments, unknown fields and empty events', () => {
    expect(all(': keep-alive\n\n\n\nretry: 5\nfoo\n\ndata: x\n\n')).toEqual(['x'])
  })

  it('takes one space after the colon, no more', () => {
    expect(all('data:  two spaces\n\ndata:none\n\n')).toEqual([' two spaces', 'none'])
  })

  it('gives a last event that no empty line follows', () => {
    expect(all('data: a\n\ndata: b')).toEqual(['a', 'b'])
  })

  it('names the event', () => {
    const parser = new SseParser()
    expect(parser.push('event: error\ndata: x\n\ndata: y\n\n')).toEqual([
      { event: 'error', data: 'x' },
      { event: 'message', data: 'y' },
    ])
  })
})
