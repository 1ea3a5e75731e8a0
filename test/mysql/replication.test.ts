import { expect, test } from 'vitest'
import type { TableDescription } from '../../src/adapters/mysql/describe-table.ts'
import type { OwnConnection } from '../../src/adapters/mysql/own-connection.ts'
import { whyReplicated } from '../../src/adapters/mysql/replication.ts'

// Servers that no test has: what they say of themselves is played.
const refusal = async (kind: TableDescription['kind'], variables: Record<string, string>): Promise<string> => {
  const connection = { rows: async () => [] } as Partial<OwnConnection> as OwnConnection
  const described = { kind, variables: new Map(Object.entries(variables)) } as Partial<TableDescription>
  return (await whyReplicated(connection, described as TableDescription))?.why ?? ''
}

test('a node of a Galera cluster is refused, a server that was only built for it is not', async () => {
  const provider = '/usr/lib/galera/libgalera_smm.so'
  expect(await refusal('mariadb', { wsrep_on: 'ON', wsrep_provider: provider })).toContain('Galera')
  expect(await refusal('mysql', { wsrep_on: 'ON', wsrep_provider: provider })).toContain('Galera')
  for (const variables of [
    { wsrep_on: 'ON', wsrep_provider: 'none' },
    { wsrep_on: 'ON', wsrep_provider: '' },
    { wsrep_on: 'OFF', wsrep_provider: provider },
    { wsrep_on: 'ON' },
  ])
    expect(await refusal('mariadb', variables)).toBe('')
})

test('a member of a replication group and a server on the files of another are refused', async () => {
  expect(await refusal('mysql', { group_replication_group_name: 'a' })).toContain('replication group')
  expect(await refusal('mysql', { innodb_read_only: 'ON' })).toContain('innodb_read_only')
})

test('auto_increment_increment alone refuses nothing', async () => {
  expect(await refusal('mysql', { auto_increment_increment: '7' })).toBe('')
})
