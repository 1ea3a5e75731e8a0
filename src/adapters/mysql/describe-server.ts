import { OptionError } from '../../core/errors.ts'
import type { OwnConnection } from './own-connection.ts'

/** What is known of a server. */
export interface ServerDescription {
  readonly kind: 'mysql' | 'mariadb'
  /** As the server says it. */
  readonly version: string
  /** The account that the server took us for, quoted: `'app'@'%'`. */
  readonly account: string
  readonly database: string
  /** The name of a table or database as the server keeps it. */
  readonly asStored: (name: string) => string
}

/** Asks a server what it is. Throws `OptionError` if it is neither MySQL nor MariaDB, or too old. */
export async function describeServer(connection: OwnConnection, name: string): Promise<ServerDescription> {
  const [facts] = await connection.rows(
    'select version(), @@version_comment, database(), current_user(), @@lower_case_table_names',
  )
  const [version, comment, database, user, lowerCase] = facts as [string, string, string, string, number | string]
  return {
    kind: serverKind(name, version, comment),
    version,
    account: quoteAccount(user),
    database,
    asStored: (given) => (Number(lowerCase) === 0 ? given : given.toLowerCase()),
  }
}

function serverKind(name: string, version: string, comment: string): 'mysql' | 'mariadb' {
  const found = `${version} (${comment})`
  const kind = /mariadb/i.test(found) ? 'mariadb' : 'mysql'
  const [major = 0, minor = 0] = version
    .replace(/^5\.5\.5-/, '')
    .split('.')
    .map(Number.parseFloat)
  const known = kind === 'mysql' ? major >= 8 : major > 10 || (major === 10 && minor >= 5)
  // These speak the protocol, but their ids are given out per node or their locks are others.
  if (!known || /tidb|vitess|oceanbase|singlestore|memsql|doris|starrocks/i.test(found)) {
    throw new OptionError(`${name}: expected MySQL 8.0 or newer, or MariaDB 10.5 or newer, but the server is ${found}`)
  }
  return kind
}

/** `app@%` as it stands in a GRANT statement. */
function quoteAccount(user: string): string {
  const at = user.lastIndexOf('@')
  const quote = (part: string): string => `'${part.replaceAll(/['\\]/g, '\\$&')}'`
  return `${quote(user.slice(0, at))}@${quote(user.slice(at + 1))}`
}
