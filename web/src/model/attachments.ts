import type { Attachment } from './types'

export const MOST_BYTES = 1 << 20

export type Refusal = 'binary' | 'large'

/** A file's text, or why it cannot be attached. */
export async function readAttachment(file: File): Promise<Attachment | Refusal> {
  if (file.size > MOST_BYTES) return 'large'
  const text = decode(new Uint8Array(await file.arrayBuffer()))
  return text === null ? 'binary' : { name: file.name || 'file', text }
}

/** UTF-8, or UTF-16 with a byte order mark; `null` for anything else. */
export function decode(bytes: Uint8Array): string | null {
  const utf16 = bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'utf-16be' : null
  try {
    const text = new TextDecoder(utf16 ?? 'utf-8', { fatal: true }).decode(bytes)
    return text.includes('\0') ? null : text
  } catch {
    return null
  }
}

/** The message as the model reads it: each file in a fence that nothing in it can close. */
export function withAttachments(text: string, attachments: Attachment[]): string {
  const blocks = attachments.map(({ name, text }) => {
    const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length))
    const fence = '`'.repeat(longest + 1)
    const label = name.replace(/[\r\n`]/g, ' ')
    const language = /\.([A-Za-z0-9]{1,12})$/.exec(label)?.[1]?.toLowerCase() ?? ''
    return `${label}:\n${fence}${language}\n${text.replace(/\n$/, '')}\n${fence}`
  })
  return [...blocks, text].filter((part) => part !== '').join('\n\n')
}
