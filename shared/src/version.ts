/** The release that this code belongs to; sent in `Hello`, shown by `--version`. */
export const version = '0.1.0';
