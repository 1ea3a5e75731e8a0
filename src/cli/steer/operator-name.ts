import { hostname, userInfo } from 'node:os'

/** Who runs this command: `ann@ops-1`. */
export function operatorName(): string {
  return `${userName()}@${hostname()}`
}

function userName(): string {
  try {
    return userInfo().username
  } catch {
    return String(process.getuid?.() ?? 'somebody') // a container's user need not have a name
  }
}
