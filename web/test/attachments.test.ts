import { describe, expect, it } from 'vitest'
import { decode, MOST_BYTES, readAttachment, withAttachments } from '../src/model/attachments'

const bytes = (...values: number[]) => new Uint8Array(values)

describe('attachments', () => {
  it('reads text and refuses the rest', () => {
    expect(decode(new TextEncoder().encode('naïve 文 हिन्दी'))).toBe('naïve 文 हिन्दी')
    expect(decode(bytes(0xff, 0xfe, 0x41, 0))).toBe('A')
    expect(decode(bytes(0x41, 0, 0x42))).toBeNull()
    expect(decode(bytes(0x89, 0x50, 0x4e, 0x47))).toBeNull()
  })

  it('refuses what is too large without reading it', async () => {
    const file = { name: 'x', size: MOST_BYTES + 1 } as File
    expect(await readAttachment(file)).toBe('large')
  })

  it('fences text so that nothing in it closes the fence', () => {
    expect(withAttachments('Why?', [{ name: 'a.py', text: 'x = 1\n' }])).toBe('a.py:\n```py\nx = 1\n```\n\nWhy?')
    expect(withAttachments('', [{ name: 'a.md', text: '````\n' }])).toBe('a.md:\n`````md\n````\n`````')
    expect(withAttachments('x', [{ name: 'a\n```b', text: '' }])).not.toContain('a\n')
  })
})
