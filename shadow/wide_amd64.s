#include "textflag.h"

// All bits but the sign's.
DATA ·absMask+0(SB)/8, $0x7fffffffffffffff
GLOBL ·absMask(SB), RODATA|NOPTR, $8

// func addAVX(x, y *float64, n int, atol, rtol float64, l *lanes)
//
// Y8 and Y9 gather the differences' sums, Y10 and Y11 the highest, Y12 and Y13 how many are
// over their tolerance: a comparison that holds makes -1 of a lane.
TEXT ·addAVX(SB), NOSPLIT, $0-48
	MOVQ         x+0(FP), SI
	MOVQ         y+8(FP), DI
	MOVQ         n+16(FP), CX
	VBROADCASTSD atol+24(FP), Y6
	VBROADCASTSD rtol+32(FP), Y7
	MOVQ         l+40(FP), DX
	VBROADCASTSD ·absMask(SB), Y5
	VXORPD       Y8, Y8, Y8
	VXORPD       Y9, Y9, Y9
	VXORPD       Y10, Y10, Y10
	VXORPD       Y11, Y11, Y11
	VPXOR        Y12, Y12, Y12
	VPXOR        Y13, Y13, Y13

loop:
	VMOVUPD (SI), Y0
	VMOVUPD 32(SI), Y1
	VMOVUPD (DI), Y2
	VMOVUPD 32(DI), Y3

	// The difference, and what it may be: atol + rtol*|x|.
	VSUBPD Y0, Y2, Y2
	VSUBPD Y1, Y3, Y3
	VANDPD Y5, Y2, Y2
	VANDPD Y5, Y3, Y3
	VANDPD Y5, Y0, Y0
	VANDPD Y5, Y1, Y1
	VMULPD Y7, Y0, Y0
	VMULPD Y7, Y1, Y1
	VADDPD Y6, Y0, Y0
	VADDPD Y6, Y1, Y1

	VADDPD Y2, Y8, Y8
	VADDPD Y3, Y9, Y9
	VMAXPD Y2, Y10, Y10
	VMAXPD Y3, Y11, Y11
	VCMPPD $0x1e, Y0, Y2, Y0 // greater, no NaN
	VCMPPD $0x1e, Y1, Y3, Y1
	VPSUBQ Y0, Y12, Y12
	VPSUBQ Y1, Y13, Y13
	ADDQ   $64, SI
	ADDQ   $64, DI
	SUBQ   $8, CX
	JNZ    loop

	VADDPD  Y9, Y8, Y8
	VMAXPD  Y11, Y10, Y10
	VPADDQ  Y13, Y12, Y12
	VMOVUPD Y8, (DX)
	VMOVUPD Y10, 32(DX)
	VMOVDQU Y12, 64(DX)
	VZEROUPPER
	RET

// func countAVX(x, y *float64, n int, l *lanes)
//
// Two numbers that are not equal differ, unless both are NaN.
TEXT ·countAVX(SB), NOSPLIT, $0-32
	MOVQ  x+0(FP), SI
	MOVQ  y+8(FP), DI
	MOVQ  n+16(FP), CX
	MOVQ  l+24(FP), DX
	VPXOR Y12, Y12, Y12
	VPXOR Y13, Y13, Y13

loop:
	VMOVUPD (SI), Y0
	VMOVUPD 32(SI), Y1
	VMOVUPD (DI), Y2
	VMOVUPD 32(DI), Y3
	VCMPPD  $4, Y2, Y0, Y4   // not equal, or a NaN
	VCMPPD  $4, Y3, Y1, Y5
	VCMPPD  $3, Y0, Y0, Y0   // a NaN
	VCMPPD  $3, Y1, Y1, Y1
	VCMPPD  $3, Y2, Y2, Y2
	VCMPPD  $3, Y3, Y3, Y3
	VANDPD  Y2, Y0, Y0
	VANDPD  Y3, Y1, Y1
	VANDNPD Y4, Y0, Y0
	VANDNPD Y5, Y1, Y1
	VPSUBQ  Y0, Y12, Y12
	VPSUBQ  Y1, Y13, Y13
	ADDQ    $64, SI
	ADDQ    $64, DI
	SUBQ    $8, CX
	JNZ     loop

	VPADDQ  Y13, Y12, Y12
	VMOVDQU Y12, 64(DX)
	VZEROUPPER
	RET
