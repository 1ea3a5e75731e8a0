import { defineConfig, type ViteUserConfig } from 'vitest/config'

/** For the tests that need no server, which are named on the command line: `npm run check` runs those of the architecture. */
const config: ViteUserConfig = defineConfig({
  ssr: { resolve: { conditions: ['reflex-bridge-source', 'node', 'module-sync'] } },
  test: { root: '.', include: ['test/**/*.test.ts'], testTimeout: 60_000 },
})

export default config
