/** One server-sent event. */
export interface SseEvent {
  event: string
  data: string
}

/**
 * Cuts a stream of text into server-sent events, as the HTML standard has it: lines end in CR, LF
 * or CRLF, an empty line ends an event, lines that start with a colon are comments.
 */
export class SseParser {
  private rest = ''
  private event = ''
  private data: string[] = []
  private first = true
  private afterCr = false

  /** The events that `text` completes. */
  push(text: string): SseEvent[] {
    const events: SseEvent[] = []
    if (this.first && text) {
      this.first = false
      if (text.startsWith('\uFEFF')) text = text.slice(1)
    }
    // A CR at the end of one piece and an LF at the start of the next are one line end.
    if (this.afterCr && text.startsWith('\n')) text = text.slice(1)
    if (text) this.afterCr = text.endsWith('\r')

    const lines = (this.rest + text).split(/\r\n|\r|\n/)
    this.rest = lines.pop()!
    for (const line of lines) this.line(line, events)
    return events
  }

  /** What is left when the stream ends: a last event that no empty line follows. */
  end(): SseEvent[] {
    const events: SseEvent[] = []
    if (this.rest) this.line(this.rest, events)
    this.rest = ''
    this.line('', events)
    return events
  }

  private line(line: string, events: SseEvent[]): void {
    if (line === '') {
      if (this.data.length > 0) {
        events.push({ event: this.event || 'message', data: this.data.join('\n') })
      }
      this.event = ''
      this.data = []
      return
    }
    const colon = line.indexOf(':')
    if (colon === 0) return
    const field = colon < 0 ? line : line.slice(0, colon)
    let value = colon < 0 ? '' : line.slice(colon + 1)
    if (value.startsWith(' ')) value = value.slice(1)
    if (field === 'data') this.data.push(value)
    else if (field === 'event') this.event = value
  }
}
