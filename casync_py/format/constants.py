"""Numbers of casync's formats. Source of all of them: casync `caformat.h`, spec sections 1.1, 1.6 and 2."""

from __future__ import annotations

HEADER_SIZE = 16  # size of the whole record, then its type, u64 each
U64_MAX = 0xFFFFFFFFFFFFFFFF  # as a size: "not known", valid for TABLE alone
OFFSET_MAX = 0x7FFFFFFFFFFFFFFF  # Linux: off_t; no stream, file or payload is longer

# Records of an archive.
ENTRY = 0x1396FABCEA5BBB51
USER = 0xF453131AAEEACCB3
GROUP = 0x25EB6AC969396A52
XATTR = 0xB8157091F80BC486
ACL_USER = 0x297DC88B2EF12FAF
ACL_GROUP = 0x36F2ACB56CB3DD0B
ACL_GROUP_OBJ = 0x23047110441F38F3
ACL_DEFAULT = 0xFE3EEDA6823C8CD0
ACL_DEFAULT_USER = 0xBDF03DF9BD010A91
ACL_DEFAULT_GROUP = 0xA0CB1168782D1F51
SELINUX = 0x46FAF0602FD26C59
FCAPS = 0xF7267DB0AFED0629
QUOTA_PROJID = 0x161BAF2D8772A72B
SYMLINK = 0x664A6FB6830E0D6C
DEVICE = 0xAC3DACE369DFE643
PAYLOAD = 0x8B9E1D93D6DCFFC9
FILENAME = 0x6DBB6EBCB3161F0B
GOODBYE = 0xDFD35C5E8327C403

# Records of an index.
INDEX = 0x96824D9C7B129FF9
TABLE = 0xE75B9E112F17417D

# Markers in the last eight bytes of tables.
GOODBYE_TAIL_MARKER = 0x57446FA533702943
TABLE_TAIL_MARKER = 0x4B4F050E5549ECD1

# Sizes of whole records, header included.
ENTRY_SIZE = 64
ACL_GROUP_OBJ_SIZE = 24
ACL_DEFAULT_SIZE = 48
QUOTA_PROJID_SIZE = 24
DEVICE_SIZE = 32
INDEX_SIZE = 48
GOODBYE_ITEM_SIZE = 24
GOODBYE_TAIL_SIZE = 24
TABLE_ITEM_SIZE = 40
TABLE_TAIL_SIZE = 40

# Limits, in bytes without header and terminating NUL.
NAME_MAX = 255  # Linux: one path component; also user, group and xattr names (spec 1.1)
TARGET_MAX = 4095  # Linux: PATH_MAX less the NUL
LABEL_MAX = 4095  # SELinux label
XATTR_VALUE_MAX = 65536  # Linux: XATTR_SIZE_MAX
FCAPS_MAX = 65536

DEVICE_MAJOR_MAX = 0xFFF  # Linux: 12 bits
DEVICE_MINOR_MAX = 0xFFFFF  # Linux: 20 bits
ID_MAX = 0xFFFFFFFE  # 2^32-1 means "no id"
ID16_MAX = 0xFFFE  # 65535 means "no id" in 16 bits
PROJID_MAX = 0xFFFFFFFF

TRAVELLING_INDEX_MAX = 4 << 30  # bytes: 107 million rows, 6 TiB in default chunks; no index without end fills a disk
CHUNK_SIZE_MAX = 128 << 20  # bound of an index's chunk sizes (spec 2); the smallest is 1

GOODBYE_HASH_KEY = bytes.fromhex("b3841d0f2b447485c12ec2d130ed3627")  # SipHash-2-4 of names (spec 1.6)

# Bounds of ours, so that an archive that repeats one chunk for ever cannot fill the memory.
NODE_METADATA_MAX = 16 << 20  # bytes of all metadata records of one node
NODE_RECORDS_MAX = 1 << 15  # their number; Linux: 64 KiB of xattr names, twice 64 KiB of ACL entries of 8 bytes
PATH_MAX = 256 << 10  # 64 times what Linux takes in one call; the depth has no other limit
