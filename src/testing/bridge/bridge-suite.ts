import type { Suite } from '../conformance/property.ts'
import type { BridgeCommand } from './bridge-command.ts'
import { bridgeProperties } from './bridge-properties.ts'
import type { BridgeSubject } from './bridge-subject.ts'
import { playRoute } from './play-route.ts'

/** The properties of a whole route: a bridge with its source, its sink and its checkpoints. */
export const bridgeSuite: Suite<BridgeSubject, BridgeCommand> = { properties: bridgeProperties, play: playRoute }
