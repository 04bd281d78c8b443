import { readFileSync } from 'node:fs'
import type { Plugin } from 'vite'
import { defineConfig } from 'vitest/config'
import { handle } from './mock/server.mjs'

/** What the page may do; the server sends the same as a header. */
const CSP =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"

/** The built page carries its policy with it, whoever serves it. */
const csp: Plugin = {
  name: 'csp',
  apply: 'build',
  transformIndexHtml: () => [
    { tag: 'meta', attrs: { 'http-equiv': 'Content-Security-Policy', content: CSP }, injectTo: 'head-prepend' },
  ],
}

/**
 * The script that must run before the first paint, as a file of its own: it can be neither a module,
 * which waits for the document, nor inline, which the policy forbids.
 */
function theme(): Plugin {
  const source = readFileSync(new URL('./src/theme.js', import.meta.url), 'utf8')
  let building = false
  let file = ''
  return {
    name: 'theme',
    configResolved(config) {
      building = config.command === 'build'
    },
    buildStart() {
      if (building) file = this.emitFile({ type: 'asset', name: 'theme.js', source })
    },
    generateBundle() {
      file = this.getFileName(file)
    },
    transformIndexHtml: {
      order: 'post',
      handler: () => [{ tag: 'script', injectTo: 'head', ...(building ? { attrs: { src: `./${file}` } } : { children: source }) }],
    },
  }
}

/** KaTeX names every font in three formats; all browsers that run this page read woff2. */
const woff2Only: Plugin = {
  name: 'woff2-only',
  enforce: 'pre',
  load(id) {
    const path = id.split('?')[0]!
    if (!path.endsWith('katex.min.css')) return
    return readFileSync(path, 'utf8').replace(/,url\([^)]*\.(?:woff|ttf)\) format\("[a-z]+"\)/g, '')
  },
}

/** `npm run dev` talks to the mock, or to the server named by PONDER_URL. */
const target = process.env.PONDER_URL
const mock: Plugin = {
  name: 'mock',
  apply: 'serve',
  configureServer(server) {
    if (target || process.env.VITEST) return
    server.middlewares.use((request, response, next) => {
      handle(request, response).then((done) => done || next(), next)
    })
  },
}

export default defineConfig({
  base: './',
  plugins: [csp, theme(), woff2Only, mock],
  server: { proxy: target ? { '/v1': target, '/health': target } : {} },
  build: {
    target: ['chrome123', 'firefox120', 'safari17.5'], // the first with light-dark()
    assetsInlineLimit: 0, // the policy allows no data: fonts
    modulePreload: { polyfill: false },
    license: { fileName: 'assets/licenses.md' }, // what the bundled libraries ask for
    chunkSizeWarningLimit: 700,
  },
  test: { include: ['test/**/*.test.{ts,tsx}'], environment: 'jsdom' },
})
