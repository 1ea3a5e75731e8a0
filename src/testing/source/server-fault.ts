/** What can happen to a server, or to the way to it. */
export type ServerFault = 'restart' | 'freeze' | 'cut'

/** The property that is about a fault of a server. */
export const faultProperty: Readonly<Record<ServerFault, string>> = { restart: 'Y3', freeze: 'Y4', cut: 'Y5' }

/** All of them. */
export const serverFaults = Object.keys(faultProperty) as readonly ServerFault[]
