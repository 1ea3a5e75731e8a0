// The demo's bridge: `reflex-bridge run CONFIG`, but it does not outlive the demo. Argument: the configuration's path.
process.on('disconnect', () => process.exit(1))
process.argv.splice(2, 0, 'run')
await import('../main.ts')
