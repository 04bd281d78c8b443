import type { TestProject } from 'vitest/node'
import { start } from '../mock/server.mjs'

declare module 'vitest' {
  export interface ProvidedContext {
    url: string
    real: boolean
  }
}

/** The tests run against PONDER_URL, or against the mock with the built page. */
export default async function setup(project: TestProject) {
  const real = process.env.PONDER_URL
  if (real) {
    project.provide('url', real)
    project.provide('real', true)
    return
  }
  const { server, url } = await start({ delay: 8 })
  project.provide('url', url)
  project.provide('real', false)
  return () => {
    server.closeAllConnections()
    server.close()
  }
}
