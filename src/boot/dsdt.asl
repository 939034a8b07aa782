/*
 * The part of the ACPI namespace that is the same on every board. What depends on the board is in the
 * SSDT that boot/acpi_ssdt.c writes: the names declared External here, _PRT and _CRS of the root
 * bridge, CPUs, COM ports, HPET and motherboard resources.
 */
DefinitionBlock ("", "DSDT", 2, "XHYVE ", "XHYVEDSD", 0x00000001)
{
    External (\PCIP, IntObj)        // is there a PCI bus
    External (\LPCP, IntObj)        // is there an LPC bridge
    External (\LPCA, IntObj)        // its _ADR
    External (\PRSA, BuffObj)       // what the links can be routed to
    External (\PRSB, BuffObj)
    External (\PRSC, BuffObj)
    External (\PRSD, BuffObj)
    External (\PRSE, BuffObj)
    External (\PRSF, BuffObj)
    External (\PRSG, BuffObj)
    External (\PRSH, BuffObj)

    Name (PICM, Zero)               // 0: 8259s, 1: IOAPIC; _PRT looks at it
    Method (_PIC, 1, NotSerialized)
    {
        PICM = Arg0
    }

    Name (_S5, Package (0x04) { 0x05, 0x05, Zero, Zero })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            Name (_SEG, Zero)
            Name (_BBN, Zero)

            Method (_STA, 0, NotSerialized)
            {
                If (PCIP)
                {
                    Return (0x0F)
                }

                Return (Zero)
            }

            // The system may drive PCI Express capabilities itself; there is no hot-plug, PME or AER.
            Method (_OSC, 4, Serialized)
            {
                CreateDWordField (Arg3, Zero, CDW1)
                If ((Arg0 == ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766")) && (Arg2 >= 0x03))
                {
                    CreateDWordField (Arg3, 0x08, CDW3)
                    Local0 = (CDW3 & 0x10)
                    If (Arg1 != One)
                    {
                        CDW1 |= 0x08            // unknown revision
                    }

                    If (CDW3 != Local0)
                    {
                        CDW1 |= 0x10            // some capabilities were masked
                    }

                    CDW3 = Local0
                    Return (Arg3)
                }

                CDW1 |= 0x04                    // unknown UUID
                Return (Arg3)
            }

            Device (ISA)
            {
                Method (_ADR, 0, NotSerialized)
                {
                    Return (LPCA)
                }

                Method (_STA, 0, NotSerialized)
                {
                    If (LPCP)
                    {
                        Return (0x0F)
                    }

                    Return (Zero)
                }

                // PIRQ route control: bit 7 = not routed, bits 3:0 = ISA interrupt.
                OperationRegion (PIRR, PCI_Config, 0x60, 0x0C)
                Field (PIRR, ByteAcc, NoLock, Preserve)
                {
                    PIRA, 8, PIRB, 8, PIRC, 8, PIRD, 8,
                    Offset (0x08),
                    PIRE, 8, PIRF, 8, PIRG, 8, PIRH, 8
                }
            }
        }

        // A link's state, current interrupt and the register value of a chosen one, from and for its
        // route control register.
        Method (LSTA, 1, NotSerialized)
        {
            If (Arg0 & 0x80)
            {
                Return (0x09)
            }

            Return (0x0B)
        }

        Name (LBUF, ResourceTemplate ()
        {
            IRQ (Level, ActiveLow, Shared) {}
        })
        Method (LCRS, 1, Serialized)
        {
            CreateWordField (LBUF, One, IRQM)
            IRQM = Zero
            If (!(Arg0 & 0x80))
            {
                IRQM = (One << (Arg0 & 0x0F))
            }

            Return (LBUF)
        }

        Method (LSRS, 1, Serialized)
        {
            CreateWordField (Arg0, One, IRQM)
            FindSetRightBit (IRQM, Local0)
            If (Local0)
            {
                Return (Local0 - One)
            }

            Return (0x80)
        }

        Device (LNKA)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x1)
            Method (_STA, 0, NotSerialized)
            {
                If (!LPCP)
                {
                    Return (Zero)
                }

                Return (LSTA (^^PCI0.ISA.PIRA))
            }

            Method (_PRS, 0, NotSerialized) { Return (PRSA) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PIRA)) }
            Method (_SRS, 1, NotSerialized) { ^^PCI0.ISA.PIRA = LSRS (Arg0) }
            Method (_DIS, 0, NotSerialized) { ^^PCI0.ISA.PIRA |= 0x80 }
        }

        Device (LNKB)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x2)
            Method (_STA, 0, NotSerialized)
            {
                If (!LPCP)
                {
                    Return (Zero)
                }

                Return (LSTA (^^PCI0.ISA.PIRB))
            }

            Method (_PRS, 0, NotSerialized) { Return (PRSB) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PIRB)) }
            Method (_SRS, 1, NotSerialized) { ^^PCI0.ISA.PIRB = LSRS (Arg0) }
            Method (_DIS, 0, NotSerialized) { ^^PCI0.ISA.PIRB |= 0x80 }
        }

        Device (LNKC)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x3)
            Method (_STA, 0, NotSerialized)
            {
                If (!LPCP)
                {
                    Return (Zero)
                }

                Return (LSTA (^^PCI0.ISA.PIRC))
            }

            Method (_PRS, 0, NotSerialized) { Return (PRSC) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PIRC)) }
            Method (_SRS, 1, NotSerialized) { ^^PCI0.ISA.PIRC = LSRS (Arg0) }
            Method (_DIS, 0, NotSerialized) { ^^PCI0.ISA.PIRC |= 0x80 }
        }

        Device (LNKD)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x4)
            Method (_STA, 0, NotSerialized)
            {
                If (!LPCP)
                {
                    Return (Zero)
                }

                Return (LSTA (^^PCI0.ISA.PIRD))
            }

            Method (_PRS, 0, NotSerialized) { Return (PRSD) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PIRD)) }
            Method (_SRS, 1, NotSerialized) { ^^PCI0.ISA.PIRD = LSRS (Arg0) }
            Method (_DIS, 0, NotSerialized) { ^^PCI0.ISA.PIRD |= 0x80 }
        }

        Device (LNKE)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x5)
            Method (_STA, 0, NotSerialized)
            {
                If (!LPCP)
                {
                    Return (Zero)
                }

                Return (LSTA (^^PCI0.ISA.PIRE))
            }

            Method (_PRS, 0, NotSerialized) { Return (PRSE) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PIRE)) }
            Method (_SRS, 1, NotSerialized) { ^^PCI0.ISA.PIRE = LSRS (Arg0) }
            Method (_DIS, 0, NotSerialized) { ^^PCI0.ISA.PIRE |= 0x80 }
        }

        Device (LNKF)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x6)
            Method (_STA, 0, NotSerialized)
            {
                If (!LPCP)
                {
                    Return (Zero)
                }

                Return (LSTA (^^PCI0.ISA.PIRF))
            }

            Method (_PRS, 0, NotSerialized) { Return (PRSF) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PIRF)) }
            Method (_SRS, 1, NotSerialized) { ^^PCI0.ISA.PIRF = LSRS (Arg0) }
            Method (_DIS, 0, NotSerialized) { ^^PCI0.ISA.PIRF |= 0x80 }
        }

        Device (LNKG)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x7)
            Method (_STA, 0, NotSerialized)
            {
                If (!LPCP)
                {
                    Return (Zero)
                }

                Return (LSTA (^^PCI0.ISA.PIRG))
            }

            Method (_PRS, 0, NotSerialized) { Return (PRSG) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PIRG)) }
            Method (_SRS, 1, NotSerialized) { ^^PCI0.ISA.PIRG = LSRS (Arg0) }
            Method (_DIS, 0, NotSerialized) { ^^PCI0.ISA.PIRG |= 0x80 }
        }

        Device (LNKH)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0x8)
            Method (_STA, 0, NotSerialized)
            {
                If (!LPCP)
                {
                    Return (Zero)
                }

                Return (LSTA (^^PCI0.ISA.PIRH))
            }

            Method (_PRS, 0, NotSerialized) { Return (PRSH) }
            Method (_CRS, 0, NotSerialized) { Return (LCRS (^^PCI0.ISA.PIRH)) }
            Method (_SRS, 1, NotSerialized) { ^^PCI0.ISA.PIRH = LSRS (Arg0) }
            Method (_DIS, 0, NotSerialized) { ^^PCI0.ISA.PIRH |= 0x80 }
        }

        Device (PIC)
        {
            Name (_HID, EisaId ("PNP0000"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0020, 0x0020, 0x01, 0x02)
                IO (Decode16, 0x00A0, 0x00A0, 0x01, 0x02)
                IRQNoFlags () { 2 }
            })
        }

        Device (TIMR)
        {
            Name (_HID, EisaId ("PNP0100"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
                IRQNoFlags () { 0 }
            })
        }

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
                IRQNoFlags () { 8 }
            })
        }
    }
}
