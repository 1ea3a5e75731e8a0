import { readFile } from 'node:fs/promises'
import { pageHtml } from './dashboard/page-html.ts'
import { pageStyle } from './dashboard/page-style.ts'

/** A file of the dashboard, as it is served. */
export interface DashboardFile {
  readonly type: string
  readonly body: string
}

/** The modules that run in the browser; the page loads `app`, and that the others. */
const modules = ['app', 'ask', 'card', 'format', 'rate-curve', 'updates'] as const
/** `.ts` while the sources run as they are, `.js` once they are built. */
const extension = import.meta.url.slice(-3)

/** The dashboard by path: the page, its style, and its modules as JavaScript. */
export async function dashboardFiles(): Promise<ReadonlyMap<string, DashboardFile>> {
  const script = 'text/javascript; charset=utf-8'
  const files = new Map<string, DashboardFile>([
    ['/', { type: 'text/html; charset=utf-8', body: pageHtml(`dashboard/app${extension}`) }],
    ['/dashboard/style.css', { type: 'text/css; charset=utf-8', body: pageStyle }],
  ])
  for (const name of modules) {
    const body = await readFile(new URL(`./dashboard/${name}${extension}`, import.meta.url), 'utf8')
    files.set(`/dashboard/${name}${extension}`, { type: script, body: await withoutTypes(body) })
  }
  return files
}

async function withoutTypes(source: string): Promise<string> {
  if (extension === '.js') return source
  const { stripTypeScriptTypes } = await import('node:module')
  return stripTypeScriptTypes(source)
}
