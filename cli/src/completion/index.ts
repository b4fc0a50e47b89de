export { type Cursor, cursorOf, matching, type WantedNames, wantedNames } from './names.ts';
export { completionScript, type Shell, shells } from './shells.ts';
export { type CompletionNode, type CompletionOption, completionTree, nameCommand } from './tree.ts';
