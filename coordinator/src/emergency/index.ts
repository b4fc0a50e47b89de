export { MirrorKeeper, type MirrorKeeperOptions } from './keeper.ts';
export { type Mirror, mirrorFile, openMirrored, readMirror, writeMirror } from './mirror.ts';
export { emergencyFolder, noteEmergency, recordEmergencies } from './notes.ts';
export { type EmergencyCertificate, type EmergencyOrder, type EmergencySigning, signEmergency } from './sign.ts';
