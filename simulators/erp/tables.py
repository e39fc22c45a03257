"""The fields of the entities that the simulator serves, as compact tables: name, type, and `!` for not creatable.

S40 is Edm.String(40), D13,3 Edm.Decimal(13,3), DT Edm.DateTime, T Edm.Time, B Edm.Boolean, I Edm.Int16.
"""

MATERIAL_DOCUMENT_HEADER = """
MaterialDocumentYear S4; MaterialDocument S10; InventoryTransactionType S2; DocumentDate DT; PostingDate DT;
CreationDate DT; CreationTime T; CreatedByUser S12; MaterialDocumentHeaderText S25; ReferenceDocument S16;
VersionForPrintingSlip S1; ManualPrintIsTriggered S1; CtrlPostgForExtWhseMgmtSyst S1; GoodsMovementCode S2
"""

MATERIAL_DOCUMENT_ITEM = """
MaterialDocumentYear S4; MaterialDocument S10; MaterialDocumentItem S4; Material S40; Plant S4; StorageLocation S4;
Batch S10; GoodsMovementType S3; InventoryStockType S2; InventoryValuationType S10; InventorySpecialStockType S1;
Supplier S10; Customer S10; SalesOrder S10; SalesOrderItem S6; SalesOrderScheduleLine S4; PurchaseOrder S10;
PurchaseOrderItem S5; WBSElement S24; ManufacturingOrder S12; ManufacturingOrderItem S4; GoodsMovementRefDocType S1;
GoodsMovementReasonCode S4; Delivery S10; DeliveryItem S6; AccountAssignmentCategory S1; CostCenter S10;
ControllingArea S4; CostObject S12; GLAccount S10; FunctionalArea S16; ProfitabilitySegment S10; ProfitCenter S10;
MasterFixedAsset S12; FixedAsset S4; MaterialBaseUnit S3; QuantityInBaseUnit D13,3; EntryUnit S3; QuantityInEntryUnit
D13,3; CompanyCodeCurrency S5; GdsMvtExtAmtInCoCodeCrcy D14,3; SlsPrcAmtInclVATInCoCodeCrcy D14,3; FiscalYear S4;
FiscalYearPeriod S7; FiscalYearVariant S2; IssgOrRcvgMaterial S40; IssgOrRcvgBatch S10; IssuingOrReceivingPlant S4;
IssuingOrReceivingStorageLoc S4; IssuingOrReceivingStockType S2; IssgOrRcvgSpclStockInd S1; IssuingOrReceivingValType
S10; IsCompletelyDelivered B; MaterialDocumentItemText S50; GoodsRecipientName S12; UnloadingPointName S25;
ShelfLifeExpirationDate DT; ManufactureDate DT; SerialNumbersAreCreatedAutomly B; Reservation S10; ReservationItem S4;
ReservationIsFinallyIssued B; SpecialStockIdfgSalesOrder S10; SpecialStockIdfgSalesOrderItem S6;
SpecialStockIdfgWBSElement S24; IsAutomaticallyCreated S1; MaterialDocumentLine S6; MaterialDocumentParentLine S6;
HierarchyNodeLevel S2; GoodsMovementIsCancelled B; ReversedMaterialDocumentYear S4; ReversedMaterialDocument S10;
ReversedMaterialDocumentItem S4; ReferenceDocumentFiscalYear S4; InvtryMgmtRefDocumentItem S4;
InvtryMgmtReferenceDocument S10; MaterialDocumentPostingType S1; InventoryUsabilityCode S1; EWMWarehouse S4;
EWMStorageBin S18; DebitCreditCode S1; CrossPlantConfigurableProduct S40!; ProductCharacteristic1 S18!;
ProductCharacteristic2 S18!; ProductCharacteristic3 S18!; ProductSeasonYear S4!; ProductSeason S10!; ProductCollection
S10!; ProductTheme S10!; StockSegment S40; IssgOrRcvgStockSegment S40
"""

CONFIRMATION = """
ConfirmationGroup S10; ConfirmationCount S8; OrderID S12; Sequence S6; OrderOperation S4; OrderSuboperation S4;
OrderType S4; OrderOperationInternalID S8; ConfirmationText S40; Language S2; Material S40; OrderPlannedTotalQty
D13,3; ProductionUnit S3; FinalConfirmationType S1; IsFinalConfirmation B; OpenReservationsIsCleared B; IsReversed B;
IsReversal B; APIConfHasNoGoodsMovements B; OrderConfirmationRecordType S3; ConfirmationEntryDate DT;
ConfirmationEntryTime T; EnteredByUser S12; LastChangeDate DT; LastChangedByUser S12; ConfirmationExternalEntryDate
DT; ConfirmationExternalEntryTime T; EnteredByExternalUser S12; ExternalSystemConfirmation Guid; Plant S4;
WorkCenterTypeCode S2; WorkCenter S8; CapacityCategoryCode S3; CapacityRequirementSplit I; Personnel S8; TimeRecording
S8; EmployeeWageType S4; EmployeeWageGroup S3; BreakDurationUnit S3; BreakDurationUnitISOCode S3;
BreakDurationUnitSAPCode S3; ConfirmedBreakDuration D9,3; EmployeeSuitability S2; NumberOfEmployees D5,2; PostingDate
DT; ConfirmedExecutionStartDate DT; ConfirmedExecutionStartTime T; ConfirmedSetupEndDate DT; ConfirmedSetupEndTime T;
ConfirmedProcessingStartDate DT; ConfirmedProcessingStartTime T; ConfirmedProcessingEndDate DT;
ConfirmedProcessingEndTime T; ConfirmedTeardownStartDate DT; ConfirmedTeardownStartTime T; ConfirmedExecutionEndDate
DT; ConfirmedExecutionEndTime T; ConfirmationUnit S3; ConfirmationUnitISOCode S3; ConfirmationUnitSAPCode S3;
ConfirmationYieldQuantity D13,3; ConfirmationScrapQuantity D13,3; ConfirmationReworkQuantity D13,3; VarianceReasonCode
S4; OpWorkQuantityUnit1 S3; WorkQuantityUnit1ISOCode S3; WorkQuantityUnit1SAPCode S3; OpConfirmedWorkQuantity1 D13,3;
NoFurtherOpWorkQuantity1IsExpd B; OpWorkQuantityUnit2 S3; WorkQuantityUnit2ISOCode S3; WorkQuantityUnit2SAPCode S3;
OpConfirmedWorkQuantity2 D13,3; NoFurtherOpWorkQuantity2IsExpd B; OpWorkQuantityUnit3 S3; WorkQuantityUnit3ISOCode S3;
WorkQuantityUnit3SAPCode S3; OpConfirmedWorkQuantity3 D13,3; NoFurtherOpWorkQuantity3IsExpd B; OpWorkQuantityUnit4 S3;
WorkQuantityUnit4ISOCode S3; WorkQuantityUnit4SAPCode S3; OpConfirmedWorkQuantity4 D13,3;
NoFurtherOpWorkQuantity4IsExpd B; OpWorkQuantityUnit5 S3; WorkQuantityUnit5ISOCode S3; WorkQuantityUnit5SAPCode S3;
OpConfirmedWorkQuantity5 D13,3; NoFurtherOpWorkQuantity5IsExpd B; OpWorkQuantityUnit6 S3; WorkQuantityUnit6ISOCode S3;
WorkQuantityUnit6SAPCode S3; OpConfirmedWorkQuantity6 D13,3; NoFurtherOpWorkQuantity6IsExpd B;
BusinessProcessEntryUnit S3; BusProcessEntrUnitISOCode S3; BusProcessEntryUnitSAPCode S3; BusinessProcessConfirmedQty
D13,3; NoFurtherBusinessProcQtyIsExpd B
"""

CONFIRMATION_ITEM = """
ConfirmationGroup S10; ConfirmationCount S8; MaterialDocument S10; MaterialDocumentItem S4; MaterialDocumentYear S4;
OrderType S4; OrderID S12; OrderItem S4; ManufacturingOrderCategory S2; Material S40; Plant S4; Reservation S10;
ReservationItem S4; StorageLocation S4; ProductionSupplyArea S10; Batch S10; InventoryValuationType S10;
GoodsMovementType S3; GoodsMovementRefDocType S1; InventoryUsabilityCode S1; InventorySpecialStockType S1; SalesOrder
S10; SalesOrderItem S6; WBSElementExternalID S24; Supplier S10; Customer S10; ReservationIsFinallyIssued B;
IsCompletelyDelivered B; ShelfLifeExpirationDate DT; ManufactureDate DT; StorageType S3; StorageBin S10;
MaterialDocumentItemText S50; EntryUnit S3; EntryUnitISOCode S3; EntryUnitSAPCode S3; QuantityInEntryUnit D13,3
"""

PRODUCTION_ORDER = """
ManufacturingOrder S12; ManufacturingOrderCategory S2; ManufacturingOrderType S4; ManufacturingOrderImportance S1;
OrderIsCreated S1; OrderIsReleased S1; OrderIsPrinted S1; OrderIsConfirmed S1; OrderIsPartiallyConfirmed S1;
OrderIsDelivered S1; OrderIsDeleted S1; OrderIsPreCosted S1; SettlementRuleIsCreated S1; OrderIsPartiallyReleased S1;
OrderIsLocked S1; OrderIsTechnicallyCompleted S1; OrderIsClosed S1; OrderIsPartiallyDelivered S1;
OrderIsMarkedForDeletion S1; SettlementRuleIsCrtedManually S1; OrderIsScheduled S1; OrderHasGeneratedOperations S1;
OrderIsToBeHandledInBatches S1; MaterialAvailyIsNotChecked S1; MfgOrderCreationDate DT; MfgOrderCreationTime T;
LastChangeDateTime S14; Material S40; StorageLocation S4; GoodsRecipientName S12; UnloadingPointName S25;
InventoryUsabilityCode S1; MaterialGoodsReceiptDuration D3,0; QuantityDistributionKey S4; StockSegment S40;
OrderInternalBillOfOperations S10; ProductionPlant S4; Plant S4; MRPArea S10; MRPController S3; ProductionSupervisor
S3; ProductionVersion S4; PlannedOrder S10; SalesOrder S10; SalesOrderItem S6; BasicSchedulingType S1;
ManufacturingObject S22; ProductConfiguration S18; OrderSequenceNumber S14; BusinessArea S4; CompanyCode S4;
ProfitCenter S10; ActualCostsCostingVariant S4; PlannedCostsCostingVariant S4; FunctionalArea S16;
MfgOrderPlannedStartDate DT; MfgOrderPlannedStartTime T; MfgOrderPlannedEndDate DT; MfgOrderPlannedEndTime T;
MfgOrderScheduledStartDate DT; MfgOrderScheduledStartTime T; MfgOrderScheduledEndDate DT; MfgOrderScheduledEndTime T;
MfgOrderActualReleaseDate DT; ProductionUnit S3; ProductionUnitISOCode S3; ProductionUnitSAPCode S3; TotalQuantity
D13,3; MfgOrderPlannedScrapQty D13,3; MfgOrderConfirmedYieldQty D13,3; CustomerName S80; WBSElementExternalID S24;
OrderLongText S
"""

COMPONENT = """
Reservation S10; ReservationItem S4; ReservationRecordType S1; MaterialGroup S9; Material S40; Plant S4;
ManufacturingOrderCategory S2; ManufacturingOrderType S4; ManufacturingOrder S12; ManufacturingOrderSequence S6;
ManufacturingOrderOperation S4; ProductionPlant S4; OrderInternalBillOfOperations S10; MatlCompRequirementDate DT;
MatlCompRequirementTime T; ReservationIsFinallyIssued B; IsBulkMaterialComponent B; MatlCompIsMarkedForBackflush B;
MaterialCompIsCostRelevant S1; SalesOrder S10; SalesOrderItem S6; MatlCompFreeDefinedAttribute S10;
BillOfMaterialCategory S1; BOMItem S8; BOMItemCategory S1; BillOfMaterialItemNumber S4; BOMItemDescription S40;
StorageLocation S4; Batch S10; BatchSplitType S1; GoodsMovementType S3; SupplyArea S10; GoodsRecipientName S12;
UnloadingPointName S25; MaterialCompIsAlternativeItem B; AlternativeItemGroup S2; AlternativeItemStrategy S1;
AlternativeItemPriority S2; UsageProbabilityPercent D3,0; MaterialComponentIsPhantomItem B; LeadTimeOffset D3,0;
QuantityIsFixed B; IsNetScrap B; ComponentScrapInPercent D5,2; OperationScrapInPercent D5,2; BaseUnit S3;
BaseUnitISOCode S3; BaseUnitSAPCode S3; RequiredQuantity D13,3; WithdrawnQuantity D13,3; ConfirmedAvailableQuantity
D15,3; MaterialCompOriginalQuantity D13,3; Currency S5; WithdrawnQuantityAmount D14,3; LastChangeDateTime S14
"""

OPERATION = """
OrderInternalBillOfOperations S10; OrderIntBillOfOperationsItem S8; ManufacturingOrder S12; ManufacturingOrderSequence
S6; MfgOrderSequenceText S40; ManufacturingOrderOperation S4; ManufacturingOrderSubOperation S4;
ManufacturingOrderCategory S2; ManufacturingOrderType S4; MfgOrderOperationText S40; OperationIsCreated S1;
OperationIsReleased S1; OperationIsPrinted S1; OperationIsConfirmed S1; OperationIsPartiallyConfirmed S1;
OperationIsDeleted S1; OperationIsTechlyCompleted S1; OperationIsClosed S1; OperationIsScheduled S1;
OperationIsPartiallyDelivered S1; OperationIsDelivered S1; ProductionPlant S4; WorkCenterInternalID S8;
WorkCenterTypeCode S1; WorkCenter S8; OperationControlProfile S4; OpErlstSchedldExecStrtDte DT;
OpErlstSchedldExecStrtTme T; OpErlstSchedldExecEndDte DT; OpErlstSchedldExecEndTme T; OpActualExecutionStartDate DT;
OpActualExecutionStartTime T; OpActualExecutionEndDate DT; OpActualExecutionEndTime T; ErlstSchedldExecDurnInWorkdays
I; OpActualExecutionDays I; OperationUnit S3; OperationUnitISOCode S3; OperationUnitSAPCode S3; OpPlannedTotalQuantity
D13,3; OpTotalConfirmedYieldQty D13,3; LastChangeDateTime S14
"""

FUNCTION_MESSAGE = """
SystemMessageType S1; SystemMessageIdentification S20; SystemMessageNumber S3; SystemMessageLongText S220;
SystemMessageVariable1 S50; SystemMessageVariable2 S50; SystemMessageVariable3 S50; SystemMessageVariable4 S50
"""

STOCK = """
Material S40; Plant S4; StorageLocation S4; Batch S10; Supplier S10; Customer S10; WBSElementInternalID S24;
SDDocument S10; SDDocumentItem S6; InventorySpecialStockType S1; InventoryStockType S2; MaterialBaseUnit S3;
MatlWrhsStkQtyInMatlBaseUnit D31,14
"""

PRODUCT = """
Product S40; ProductType S4; BaseUnit S3; IsMarkedForDeletion B; CrossPlantStatus S2; LastChangeDate DT
"""

PRODUCT_UNIT = """
Product S40; AlternativeUnit S3; QuantityNumerator D5,0; QuantityDenominator D5,0; BaseUnit S3
"""

MATERIAL_STOCK = """
Material S40; MaterialBaseUnit S3
"""

BATCH = """
Material S40; BatchIdentifyingPlant S4; Batch S10; BatchIsMarkedForDeletion B; MatlBatchIsInRstrcdUseStock B; Supplier
S10; BatchBySupplier S15; CountryOfOrigin S3; RegionOfOrigin S3; MatlBatchAvailabilityDate DT; ShelfLifeExpirationDate
DT; ManufactureDate DT; FreeDefinedDate1 DT; FreeDefinedDate2 DT; FreeDefinedDate3 DT; FreeDefinedDate4 DT;
FreeDefinedDate5 DT; FreeDefinedDate6 DT; CreationDateTime DTO; LastChangeDateTime DTO; BatchExtWhseMgmtInternalId Guid
"""

DEFECT = """
DefectInternalID S12; Defect S11; DefectCategory S2; CreatedByUser S12; CreationDate DT; LastChangedByUser S12;
LastChangeDate DT; DefectText S40; DefectCodeCatalog S1; DefectCodeGroup S8; DefectCode S4; DefectCodeVersion S6;
DefectObjectCodeCatalog S1; DefectObjectCodeGroup S8; DefectObjectCode S4; DefectiveQuantity D13,3;
DefectiveQuantityUnit S3; ManufacturingOrder S12; OrderInternalID S10; ManufacturingOrderOperation S4;
ManufacturingOrderSequence S6; CreationTime T; LastChangeTime T; DefectClass S2; NumberOfDefects I;
InspPlanOperationInternalID S8; InspectionCharacteristic S4; InspectionSubsetInternalID S6; MaterialSample S12;
WorkCenterTypeCode S2; MainWorkCenterInternalID S8; MainWorkCenterPlant S4; MainWorkCenter S8; Equipment S18;
FunctionalLocation S40; IsDeleted S1; DefectOrigin S1; Material S40; Plant S4; InspectionLot S12; CatalogProfile S9;
ChangedDateTime DTO
"""

COUNT_HEADER = """
FiscalYear S4; PhysicalInventoryDocument S10; InventoryTransactionType S2; Plant S4; StorageLocation S4;
InventorySpecialStockType S1; DocumentDate DT; PhysInventoryPlannedCountDate DT; PhysicalInventoryLastCountDate DT;
PostingDate DT; FiscalPeriod S2; CreatedByUser S12; PostingIsBlockedForPhysInvtry B; PhysicalInventoryCountStatus S1;
PhysInvtryAdjustmentPostingSts S1; PhysInvtryDeletionStatus S1; PhysInvtryDocHasQtySnapshot B;
PhysicalInventoryGroupType S2; PhysicalInventoryGroup S10; PhysicalInventoryNumber S16; PhysInventoryReferenceNumber
S16; PhysicalInventoryDocumentDesc S40; PhysicalInventoryType S1; LastChangeDateTime DTO
"""

COUNT_ITEM = """
FiscalYear S4; PhysicalInventoryDocument S10; PhysicalInventoryDocumentItem S3; Plant S4; StorageLocation S4; Material
S40; Batch S10; InventorySpecialStockType S1; PhysicalInventoryStockType S1; SalesOrder S10; SalesOrderItem S6;
Supplier S10; Customer S10; WBSElement S24; LastChangeUser S12; LastChangeDate DT; CountedByUser S12;
PhysicalInventoryLastCountDate DT; AdjustmentPostingMadeByUser S12; PostingDate DT; PhysicalInventoryItemIsCounted B;
PhysInvtryDifferenceIsPosted B; PhysInvtryItemIsRecounted B; PhysInvtryItemIsDeleted B; IsHandledInAltvUnitOfMsr B;
CycleCountType S1; IsValueOnlyMaterial B; PhysInventoryReferenceNumber S16; MaterialDocument S10; MaterialDocumentYear
S4; MaterialDocumentItem S4; PhysInvtryRecountDocument S10; PhysicalInventoryItemIsZero B;
ReasonForPhysInvtryDifference S4; MaterialBaseUnit S3; BookQtyBfrCountInMatlBaseUnit D13,3; Quantity D13,3; UnitOfEntry
S3; QuantityInUnitOfEntry D13,3; Currency S5; DifferenceAmountInCoCodeCrcy D14,3; EnteredSlsAmtInCoCodeCrcy D14,3;
SlsPriceAmountInCoCodeCrcy D14,3; PhysInvtryCtAmtInCoCodeCrcy D14,3; BookQtyAmountInCoCodeCrcy D14,3;
LastChangeDateTime DTO
"""

# Stored and compared in upper case.
UPPER_CASE = frozenset(
    [
        "Batch",
        "Material",
        "Product",
        "ReferenceDocument",
        "PhysInventoryReferenceNumber",
        "ManufacturingOrder",
        "OrderID",
        "Plant",
        "StorageLocation",
        "EntryUnit",
        "ConfirmationUnit",
        "GoodsMovementType",
        "WorkCenter",
    ]
)

# Digits only: compared without their leading zeros (sap:display-format="NonNegative").
NUMERIC = frozenset(
    [
        "Reservation",
        "ReservationItem",
        "OrderOperation",
        "ManufacturingOrderOperation",
        "MaterialDocumentItem",
        "ConfirmationCount",
        "ConfirmationGroup",
        "MaterialDocumentYear",
        "ReversedMaterialDocumentYear",
        "ReversedMaterialDocumentItem",
        "ManufacturingOrderItem",
        "OrderItem",
        "Sequence",
        "ManufacturingOrderSequence",
        "OrderIntBillOfOperationsItem",
        "OrderInternalBillOfOperations",
        "FiscalYear",
        "PhysicalInventoryDocument",
        "PhysicalInventoryDocumentItem",
        "DefectInternalID",
    ]
)
