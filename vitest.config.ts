import { defineConfig, type ViteUserConfig } from 'vitest/config'
import { SlowFirst } from './test/slow-first.ts'

const report = process.env['REFLEX_BRIDGE_TEST_REPORT']

const config: ViteUserConfig = defineConfig({
  ssr: { resolve: { conditions: ['reflex-bridge-source', 'node', 'module-sync'] } },
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 3, // mostly they wait: for servers that start, are frozen, or notice
    reporters: report === undefined ? ['default'] : ['default', ['json', { outputFile: report }]],
    execArgv: ['--disable-warning=TimeoutNegativeWarning'], // of kafkajs
    sequence: { sequencer: SlowFirst },
    globalSetup: ['test/servers.setup.ts'],
    setupFiles: ['test/fast-check.setup.ts'],
  },
})

export default config
