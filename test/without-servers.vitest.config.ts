import { defineConfig, type ViteUserConfig } from 'vitest/config'

/** The architecture needs no server: `npm run check` runs it on its own. */
const config: ViteUserConfig = defineConfig({
  ssr: { resolve: { conditions: ['reflex-bridge-source', 'node', 'module-sync'] } },
  test: { root: '.', include: ['test/architecture/**/*.test.ts'], testTimeout: 60_000 },
})

export default config
