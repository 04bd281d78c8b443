import { type RefObject } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'

/** The time, while something waits for it. */
export function useNow(active: boolean): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    if (!active) return
    setNow(Date.now())
    const timer = setInterval(() => setNow(Date.now()), 200)
    return () => clearInterval(timer)
  }, [active])
  return now
}

export function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches)
  useEffect(() => {
    const media = matchMedia(query)
    const listen = () => setMatches(media.matches)
    listen()
    media.addEventListener('change', listen)
    return () => media.removeEventListener('change', listen)
  }, [query])
  return matches
}

/** Keeps the end of a growing text in view, until its reader scrolls up. */
export function useFollow<E extends HTMLElement>(live: boolean) {
  const ref = useRef<E>(null)
  const following = useRef(true)
  const wasLive = useRef(live)
  useLayoutEffect(() => {
    const growing = live || wasLive.current
    wasLive.current = live
    if (growing && following.current && ref.current) ref.current.scrollTop = ref.current.scrollHeight
  })
  const onScroll = (): void => {
    if (!ref.current) return // it may be gone by the time it is told
    const { scrollTop, scrollHeight, clientHeight } = ref.current
    following.current = scrollHeight - scrollTop - clientHeight < 24
  }
  return { ref, onScroll }
}

const sizesItself = CSS.supports('field-sizing', 'content')

/** A text field as high as its text, in browsers that do not know how by themselves. */
export function useGrowing(field: RefObject<HTMLTextAreaElement | null>, text: string): void {
  useLayoutEffect(() => {
    const area = field.current
    if (sizesItself || !area) return
    area.style.height = 'auto'
    area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`
  }, [text])
}

/** Puts text on the clipboard; without https the old way is the only one. */
export async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    const area = document.createElement('textarea')
    area.value = text
    area.style.position = 'fixed'
    area.style.opacity = '0'
    const host = document.querySelector('dialog[open]') ?? document.body
    const focused = document.activeElement
    host.append(area)
    area.select()
    document.execCommand('copy')
    area.remove()
    if (focused instanceof HTMLElement) focused.focus()
  }
}

export const onMac = /mac|iphone|ipad/i.test(navigator.platform)
