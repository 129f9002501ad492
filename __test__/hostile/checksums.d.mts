export declare function crc32(bytes: Uint8Array): number;
export declare function crc32c(bytes: Uint8Array): number;
